"""Broken motions and cameras of the multiview system."""

from __future__ import annotations

from pathlib import Path

from refkp.systems.multiview.export import export, read_cameras, read_motion
from tests.fuzz.readers.judge import check_reader
from tests.systems.multiview.export.clips import bodies, moving
from tests.systems.multiview.export.rigs import made_up_calibration


def test_broken_motions(tmp_path: Path) -> None:
    clip = moving(bodies()["static"], num_frames=3)
    export(tmp_path, clip, formats=("poses",))
    check_reader("motion", tmp_path, lambda: read_motion(tmp_path, clip.body), ("poses.json", "poses.npz"))


def test_broken_cameras(tmp_path: Path) -> None:
    clip = moving(bodies()["static"], num_frames=3)
    export(tmp_path, clip, formats=("cameras",), calibration=made_up_calibration())
    check_reader("cameras.json", tmp_path, lambda: read_cameras(tmp_path / "cameras.json"), ("cameras.json",))
