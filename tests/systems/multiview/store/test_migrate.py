"""Older files become schema version 2: a slot for each camera, the unit told, pictures byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")

from refkp import cli
from refkp.systems.multiview.store.migrate import migrate
from refkp.systems.multiview.store.reading import SampleStore
from tests.systems.multiview.store.old_files import NAMES, SEEN, write_packed


def _equal(a: object, b: object) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b  # type: ignore[arg-type]


def test_samples_are_the_same_afterwards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.h5", tmp_path / "new.h5"
    turned = np.zeros((3, 3), dtype=np.float32)
    turned[1] = 0.5
    write_packed(old, changes={"parameters/global_rot": turned}, crop_mode="centred")
    assert cli.main(["multiview", "migrate", str(old), str(new), "--world_unit", "cm"]) == 0
    assert capsys.readouterr().out == f"{new}: {len(SEEN)} samples\n"
    with SampleStore(old) as before, SampleStore(new) as after:
        assert after.info.schema_version == 2
        assert (after.info.world_unit, after.info.world_scale) == ("cm", 0.01)
        assert after.info.attributes["crop_mode"] == "centred"
        assert after.info.attributes["max_views"] == len(NAMES)
        assert after.info.undistorted
        assert after.info.pixel_convention is None
        assert not after.has("camera_distortion")
        for number in range(len(SEEN)):
            assert _equal(before.read(number), after.read(number))


def test_the_unit_is_not_guessed(tmp_path: Path) -> None:
    write_packed(tmp_path / "old.h5")
    with pytest.raises(ValueError, match=r"old\.h5` must be a file that tells its world_scale.*--world_unit"):
        migrate(tmp_path / "old.h5", tmp_path / "new.h5")
    write_packed(tmp_path / "told.h5", world_scale=0.001)
    with pytest.raises(ValueError, match=r"`world_unit` must be of the length that .*0\.001 m; got 'm'"):
        migrate(tmp_path / "told.h5", tmp_path / "new.h5", "m")
    assert not (tmp_path / "new.h5").exists()
    assert migrate(tmp_path / "told.h5", tmp_path / "new.h5") == len(SEEN)
    with SampleStore(tmp_path / "new.h5") as store:
        assert store.info.world_scale == 0.001


def test_neither_files_of_today_nor_over_other_files(tmp_path: Path) -> None:
    write_packed(tmp_path / "old.h5", world_scale=1.0)
    migrate(tmp_path / "old.h5", tmp_path / "new.h5")
    with pytest.raises(ValueError, match=r"`new` must be a name that is free"):
        migrate(tmp_path / "old.h5", tmp_path / "new.h5")
    with pytest.raises(ValueError, match=r"new\.h5` must be of an older version; got 2"):
        migrate(tmp_path / "new.h5", tmp_path / "newer.h5")


def test_shapes_of_another_model_are_told(tmp_path: Path) -> None:
    changes = {"parameters/joint_rot": np.ones((3, 9, 3), dtype=np.float32)}
    write_packed(tmp_path / "old.h5", changes=changes, world_scale=1.0)
    with pytest.raises(ValueError, match=r"a file with `joint_rot` of \[5, 3\] in each sample; got \[9, 3\]"):
        migrate(tmp_path / "old.h5", tmp_path / "new.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.h5"]
