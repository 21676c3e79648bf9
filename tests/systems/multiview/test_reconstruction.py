"""From the files of a session to points in space and better cameras, by functions and by commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")

import h5py

from refkp import cli
from refkp.geometry.bundle import BundleSpec
from refkp.geometry.rotations import axis_angle_to_matrix, rotation_angle_between
from refkp.geometry.triangulation import TriangulationSpec
from refkp.systems.multiview.calibration import write_calibration
from refkp.systems.multiview.commands import calibrate, triangulate
from refkp.systems.multiview.data.generator import MadeUpSession, make_session, write_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.inspection import inspect_recording
from refkp.systems.multiview.reading import read_recording
from refkp.systems.multiview.reading.cameras import read_calibration
from refkp.systems.multiview.reading.points import read_points, read_projections
from refkp.systems.multiview.reconstruction import reconstruct, refine_cameras

SPEC = SessionSpec(num_frames=40, num_views=4, missing=0.2, outliers=0.05, with_videos=False)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MadeUpSession]:
    """A session whose animal no camera sees in frames 15 to 17, and its truth."""
    made = make_session(SPEC, seed=3)
    made.labels[15:18] = np.nan
    folder = tmp_path_factory.mktemp("space") / "walk"
    folder.mkdir()
    write_session(folder, made, SPEC)
    return folder, made


def errors(points: np.ndarray, truth: MadeUpSession) -> np.ndarray:
    """In body lengths [F,J]."""
    return np.linalg.norm(points - truth.points, axis=-1) / SPEC.body_length


def test_points_are_where_they_were_and_frames_without_labels_stay_empty(
    session: tuple[Path, MadeUpSession],
) -> None:
    folder, truth = session
    found = reconstruct(read_recording(folder))
    assert found.seen.frames.tolist() == list(range(40))
    off = errors(found.points, truth)
    assert np.isnan(off[15:18]).all()
    assert not found.measured[15:18].any()
    assert np.nanmedian(off) < 0.01
    assert np.nanmean(off) < 0.03  # two views alone agree on an outlier beside an epipolar line
    assert np.isfinite(off).mean() > 0.85
    outlier = np.abs(truth.labels - _ideal(truth)).max(-1) > 20
    assert (found.inliers & outlier).sum() < 0.1 * outlier.sum()
    assert np.array_equal(np.isfinite(found.points).all(-1), found.measured)


def _ideal(truth: MadeUpSession) -> np.ndarray:
    return truth.calibration.rig.project(torch.from_numpy(truth.points)).uv.permute(0, 2, 1, 3).numpy()


def test_over_time_gaps_are_filled_and_errors_fall(session: tuple[Path, MadeUpSession]) -> None:
    folder, truth = session
    recording = read_recording(folder)
    plain, smoothed = reconstruct(recording), reconstruct(recording, over_time=True)
    assert np.isfinite(smoothed.points).all()
    assert np.array_equal(smoothed.measured, plain.measured)
    known = plain.measured
    assert errors(smoothed.points, truth)[known].mean() < errors(plain.points, truth)[known].mean()
    assert errors(smoothed.points, truth)[15:18].mean() < 0.1


def test_cameras_that_are_off_come_back(session: tuple[Path, MadeUpSession]) -> None:
    folder, truth = session
    recording = read_recording(folder)
    rig = truth.calibration.rig
    turned = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 0.02], dtype=torch.float64)) @ rig.R
    turned[0] = rig.R[0]
    start = truth.calibration._replace(
        rig=rig._replace(R=turned, t=-(turned @ rig.centres()[..., None])[..., 0])
    )
    found = refine_cameras(replace(recording, calibration=start), max_frames=30)
    assert len(found.frames) == 30
    off = torch.rad2deg(rotation_angle_between(found.calibration.rig.R, rig.R))
    sigma = found.bundle.covariance.diagonal().unflatten(0, (-1, 8))[:, :3].sum(1).sqrt().rad2deg()
    assert bool((off[1:] < 3 * sigma[1:]).all())
    assert float(off.max()) < 0.8  # 0.65 from 30 frames of labels with a noise of 0.5 px
    assert float(torch.rad2deg(rotation_angle_between(turned, rig.R)).max()) > 1


def test_views_that_no_camera_is_of_are_named(session: tuple[Path, MadeUpSession]) -> None:
    recording = read_recording(session[0])
    assert recording.calibration is not None
    others = recording.calibration._replace(names=("left", "right", "top", "low"))
    kinds = [finding.kind for finding in inspect_recording(replace(recording, calibration=others)).findings]
    assert kinds == ["no video"] * 4 + ["view without a camera"] * 4


def test_a_session_without_one_point_is_an_error(session: tuple[Path, MadeUpSession]) -> None:
    with pytest.raises(ValueError, match="labels that 5 views agree on; got none, of 4 views"):
        reconstruct(read_recording(session[0]), spec=TriangulationSpec(min_views=5))


@pytest.mark.parametrize("command", [triangulate.triangulate, calibrate.calibrate])
def test_cameras_that_cannot_be_right_are_refused(
    command: Callable[[list[str]], int], session: tuple[Path, MadeUpSession], tmp_path: Path
) -> None:
    folder, truth = session
    rig = truth.calibration.rig.select([0, 1, 2, 2])
    write_calibration(tmp_path / "copied.toml", truth.calibration._replace(rig=rig))
    with pytest.raises(ValueError, match="duplicate cameras: cam2 and cam3"):
        command([str(folder), "--calibration", str(tmp_path / "copied.toml"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_fewer_than_two_cameras_are_refused(session: tuple[Path, MadeUpSession]) -> None:
    folder, truth = session
    with pytest.raises(ValueError, match="must be with cameras of at least two views; got 0 of 4"):
        reconstruct(replace(read_recording(folder), calibration=None))
    one = truth.calibration.of(["cam2"])
    with pytest.raises(ValueError, match="got 1 of 4"):
        refine_cameras(replace(read_recording(folder), calibration=one))


def test_what_triangulate_writes_is_read_again(
    session: tuple[Path, MadeUpSession], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, truth = session
    assert cli.main(["multiview", "triangulate", str(folder), "--out", str(tmp_path / "out")]) == 0
    found = reconstruct(read_recording(folder))
    points = read_points(tmp_path / "out" / "points3d.h5", 17)
    assert points.first_frame == 0
    np.testing.assert_array_equal(points.xyz[:, 0], found.points)
    ideal = read_projections(tmp_path / "out" / "reprojections.h5", 17)
    assert list(ideal.xy) == ["cam0", "cam1", "cam2", "cam3"]
    rig = truth.calibration.rig._replace(distortion=torch.zeros(4, 5, dtype=torch.float64))
    want = rig.project(torch.from_numpy(found.points)).uv[..., 2, :].numpy()
    np.testing.assert_allclose(ideal.xy["cam2"][:, 0], want, atol=1e-9)
    with h5py.File(tmp_path / "out" / "points3d.h5") as file:
        np.testing.assert_array_equal(file["covariance"][:, 0], found.covariance)
        np.testing.assert_array_equal(file["inliers"][:, 0], found.inliers)
        assert file["view_names"][2] == b"cam2"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["num_points"] == int(found.measured.sum())
    assert f"{summary['num_points']} points of 680 in 40 frames, 0 filled in" in capsys.readouterr().out
    assert (tmp_path / "out" / "space.png").stat().st_size > 10_000


def test_cameras_that_cannot_be_right_are_not_triangulated_with(
    session: tuple[Path, MadeUpSession], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, truth = session
    wrong = tmp_path / "twice.toml"
    write_calibration(wrong, truth.calibration._replace(rig=truth.calibration.rig.select([0, 1, 3, 3])))
    command = [
        "multiview",
        "triangulate",
        str(folder),
        "--calibration",
        str(wrong),
        "--out",
        str(tmp_path / "out"),
    ]
    assert cli.main(command) == cli.USAGE_ERROR
    assert "duplicate cameras: cam2 and cam3" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.main([*command, "--leave_out", "cam2"]) == 0


def test_calibrate_writes_cameras_that_are_read_again(
    session: tuple[Path, MadeUpSession], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, truth = session
    out = tmp_path / "out"
    assert cli.main(["multiview", "calibrate", str(folder), "--out", str(out), "--focal", "shared"]) == 0
    refined = read_calibration(out / "calibration_refined.toml")
    assert refined.names == truth.calibration.names
    rig = truth.calibration.rig
    torch.testing.assert_close(refined.rig.R[0], rig.R[0])
    assert float((refined.rig.centres() - rig.centres()).norm(dim=1).max()) < 5
    assert refined.sizes.tolist() == [[640, 480]] * 4
    summary = json.loads((out / "summary.json").read_text())
    assert [row["view"] for row in summary["views"]] == list(refined.names)
    factors = {round(row["focal_percent"], 9) for row in summary["views"]}
    assert len(factors) == 1
    assert "turned by more than" not in capsys.readouterr().err


def test_the_options_have_the_defaults_of_the_specs() -> None:
    for parser, spec in ((triangulate._parser(), TriangulationSpec()), (calibrate._parser(), BundleSpec())):
        defaults = vars(parser.get_defaults())
        same = {field.name: getattr(spec, field.name) for field in fields(spec) if field.name in defaults}
        assert len(same) > 1
        assert {name: defaults[name] for name in same} == same
