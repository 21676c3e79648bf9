"""`refkp multiview preprocess`: what it refuses, what it tells, and that nothing half-written stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("sleap_io", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")

import h5py

from refkp import cli
from refkp.systems.multiview.calibration import Calibration, write_calibration
from refkp.systems.multiview.data.generator import MadeUpSession
from refkp.systems.multiview.inspection.findings import Finding
from refkp.systems.multiview.inspection.refusal import refuse_broken
from refkp.systems.multiview.store.reading import SampleStore
from tests.systems.multiview.preprocessing.support import small_session

Made = tuple[Path, MadeUpSession]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("commanded") / "walk"
    return folder, small_session(folder)


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "walk"))


def _called(*arguments: object) -> int:
    return cli.main(["multiview", "preprocess", *map(str, arguments), "--size", "32", "--workers", "1"])


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert _called(*arguments) == cli.USAGE_ERROR
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    return text


def test_a_session_becomes_samples_and_it_is_told_what_became_of_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--frame_skip 2 --max_frames 5 --crop animal --no-undistort --soft_visibility --no_3d_data"
    arguments = (folder, tmp_path / "x.h5", *options.split(), "--world_unit", "cm")
    assert _called(*arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{tmp_path / 'x.h5'}: 5 samples, 5 of 3 views"
    assert "frames thinned out    15" in lines
    with SampleStore(tmp_path / "x.h5") as store:
        assert (store.info.world_unit, store.info.world_scale, store.info.undistorted) == ("cm", 0.01, False)
        assert store.samples.frames.tolist() == [0, 2, 4, 6, 8]
        seen = store.read(0).visibility
        assert np.isin(seen, np.float32([0, 0.9])).all()  # as the scores are
    assert _called(*arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("was there already: ")


def _duplicated(made: Made) -> Calibration:
    return made[1].calibration._replace(rig=made[1].calibration.rig.select([0, 1, 1]))


def _unnamed(made: Made) -> Calibration:
    return made[1].calibration._replace(names=("cam0", "cam1", "left"))


def _of_another_size(made: Made) -> Calibration:
    return made[1].calibration._replace(sizes=torch.tensor([[160, 120], [160, 120], [640, 480]]))


def _with_K_of_another_size(made: Made) -> Calibration:
    K = made[1].calibration.rig.K.clone()
    K[2, :2] *= 4
    return _of_another_size(made)._replace(rig=made[1].calibration.rig._replace(K=K))


def _folding(made: Made) -> Calibration:
    distortion = made[1].calibration.rig.distortion.clone()
    distortion[2, 0] = -9
    return made[1].calibration._replace(rig=made[1].calibration.rig._replace(distortion=distortion))


CALIBRATIONS = {
    "duplicate cameras: cam1 and cam2": _duplicated,
    "view without a camera: cam2": _unnamed,
    "wrong size in the file: cam2": _of_another_size,
    "K of another size: cam2": _with_K_of_another_size,
    "folding lens: cam2": _folding,
}


@pytest.mark.parametrize("told", CALIBRATIONS)
def test_cameras_that_are_wrong_are_refused(
    told: str, made: Made, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.h5"
    write_calibration(folder / "calibration.toml", CALIBRATIONS[told](made))
    text = _refused(capsys, folder, out)
    assert told in text
    assert "--calibration" in text
    assert "--leave_out" in text
    assert not list(tmp_path.glob("x.h5*"))


def test_wrong_cameras_are_left_out_or_replaced(made: Made, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.h5"
    write_calibration(folder / "calibration.toml", _duplicated(made))
    assert _called(folder, out, "--calibration", made[0] / "calibration.toml") == 0
    out.unlink()
    assert _called(folder, out, "--leave_out", "cam2") == 0
    with SampleStore(out) as store:
        assert store.info.camera_names == ("cam0", "cam1")


def test_what_labels_say_against_cameras_is_a_reason_unless_the_user_named_them() -> None:
    doubt = Finding("shifted camera", "cam1", "its labels are off by (3.0, 8.0) px", "Calibrate it again.")
    sure = Finding("duplicate cameras", "cam0 and cam1", "they have the same R and t", "Leave one out.")
    leaves = Finding("animal leaves the picture", "cam0", "4 labels outside", "Leave those out.")
    unit = Finding("wrong unit", "points3d.h5", "10 times as large", "Write both in one unit.")
    assert refuse_broken("s", [leaves]) == [leaves]
    assert refuse_broken("s", [doubt, leaves], cameras_were_named=True) == [doubt, leaves]
    assert refuse_broken("s", [unit, leaves], ignored=["points3d.h5"]) == [leaves]
    with pytest.raises(ValueError, match=r"`s` must be .* got shifted camera: cam1: .*named with --cal"):
        refuse_broken("s", [leaves, doubt])
    with pytest.raises(ValueError, match="duplicate cameras: cam0 and cam1"):
        refuse_broken("s", [sure], cameras_were_named=True)


@pytest.mark.parametrize("told", CALIBRATIONS)
@pytest.mark.parametrize("command", ["triangulate", "calibrate"])
def test_geometry_refuses_the_same_cameras(
    command: str, told: str, made: Made, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_calibration(folder / "calibration.toml", CALIBRATIONS[told](made))
    assert cli.main(["multiview", command, str(folder), "--out", str(tmp_path / "out")]) == cli.USAGE_ERROR
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_geometry_goes_on_without_the_wrong_camera(made: Made, folder: Path, tmp_path: Path) -> None:
    write_calibration(folder / "calibration.toml", _duplicated(made))
    command = ["multiview", "triangulate", str(folder), "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--leave_out", "cam2"]) == 0


def _empty_video(folder: Path) -> None:
    (folder / "cam1" / "cam1.avi").write_bytes(b"")


def _short_video(folder: Path) -> None:
    small_session(folder.parent / "short", num_frames=8)
    shutil.copy(folder.parent / "short" / "cam1" / "cam1.avi", folder / "cam1" / "cam1.avi")


def _cut_labels(folder: Path) -> None:
    path = folder / "cam1" / "cam1.analysis.h5"
    path.write_bytes(path.read_bytes()[:900])


def _cut_project(folder: Path) -> None:
    (folder / "cam1" / "cam1.analysis.h5").unlink()
    (folder / "cam1" / "cam1.slp").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40))


BROKEN = {
    "broken video: cam1": _empty_video,
    "video shorter than its labels: cam1: labels up to frame 19, the video has 8": _short_video,
    "cam1.analysis.h5": _cut_labels,
    "cam1.slp": _cut_project,
}


@pytest.mark.parametrize("told", BROKEN)
def test_broken_files_are_told_in_a_line_and_leave_nothing(
    told: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BROKEN[told](folder)
    assert told in _refused(capsys, folder, tmp_path / "x.h5")
    assert not list(tmp_path.glob("*x.h5*"))


def test_sessions_of_other_joints_are_told(
    made: Made, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(made[0], tmp_path / "other")
    for path in other.glob("*/*.h5"):
        with h5py.File(path, "a") as file:
            names = file["node_names"][()]
            names[0] = b"snout"
            file["node_names"][...] = names
    text = _refused(capsys, folder, other, tmp_path / "x.h5")
    assert "`other` must be of the same joints as the first; snout, trunk are in one of them alone" in text


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "`samples` must be the name of a file" in _refused(capsys, "none", tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "`samples` must be in a place to write" in _refused(capsys, "none", tmp_path / "x.h5")


@pytest.mark.realdata
def test_a_real_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own calibration has a camera twice; with the one that was recovered there are 4 views of 15 joints."""
    place = Path(os.environ["REFKP_DATA"]) / "multiview"
    out, session = tmp_path / "x.h5", place / "minimal_session"
    assert "duplicate cameras: side and top" in _refused(capsys, session, out)
    cameras = place / "derived" / "calibration_recovered.toml"
    assert _called(session, out, "--calibration", cameras, "--max_frames", 12) == 0
    with SampleStore(out) as store:
        assert (store.info.camera_names, store.info.num_joints) == (("back", "mid", "side", "top"), 15)
        samples = [store.read(index) for index in range(len(store))]
    assert len(samples) == 12
    assert all(sample.view_mask.all() and sample.points is not None for sample in samples)
    with h5py.File(out) as file:
        assert file["metadata"].attrs["count_potential_views"] == 480
    seen = sum((sample.visibility > 0).sum((1,)) for sample in samples)
    assert seen[[1, 3]].tolist() == [180, 180]  # mid and top miss nothing
    assert sum(sample.points_valid.sum() for sample in samples) == 180
