"""Broken files of samples."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("h5py", reason="needs the extra `multiview`")

from refkp.systems.multiview.store.migrate import migrate
from refkp.systems.multiview.store.reading import SampleStore
from tests.fuzz.readers.judge import check_reader
from tests.systems.multiview.store.old_files import write_packed


def test_broken_files_of_samples(tmp_path: Path) -> None:
    """Of today: older ones have no checksums, and HDF5 itself may loop for ever in some that are broken."""
    path, old = tmp_path / "samples.h5", tmp_path / "old.h5"
    write_packed(old)
    migrate(old, path, "mm")
    old.unlink()

    def read() -> None:
        with SampleStore(path) as store:
            for number in range(len(store)):
                store.read(number)

    check_reader("samples", tmp_path, read, (path.name,))
