"""Sessions in files with one fault each: the inspection names it, the command exits with 1, and clean ones pass."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")

import cv2
import h5py

from refkp import cli
from refkp.geometry.rig import Rig
from refkp.systems.multiview.calibration import write_calibration
from refkp.systems.multiview.data.generator import generate_session, write_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.inspection import inspect_recording
from refkp.systems.multiview.reading import read_recording
from refkp.systems.multiview.reading.cameras import read_calibration
from tests.systems.multiview.sessions import FAULTS

SPEC = SessionSpec(num_frames=60, num_views=3, size=(120, 160))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sessions") / "clean"
    generate_session(folder, SPEC, seed=2)
    return folder


def _labels(folder: Path, change: Callable[[np.ndarray], None]) -> None:
    with h5py.File(folder / "cam1" / "cam1.analysis.h5", "r+") as file:
        tracks = file["tracks"][()]  # [animal, xy, joint, frame]
        change(tracks)
        file["tracks"][...] = tracks


def _points_in_centimetres(folder: Path) -> None:
    with h5py.File(folder / "points3d.h5", "r+") as file:
        file["tracks"][...] = file["tracks"][()] / 10


def _duplicated_camera(folder: Path) -> None:
    calibration = read_calibration(folder / "calibration.toml")
    write_calibration(
        folder / "calibration.toml", calibration._replace(rig=calibration.rig.select([0, 2, 2]))
    )


def _calibrated_at_half_size(folder: Path) -> None:
    calibration = read_calibration(folder / "calibration.toml")
    K, sizes = calibration.rig.K.clone(), calibration.sizes.clone()
    K[1, :2] /= 2
    sizes[1] //= 2
    rig = calibration.rig._replace(K=K)
    write_calibration(folder / "calibration.toml", calibration._replace(rig=rig, sizes=sizes))


def _changed_camera(folder: Path, change: Callable[[Rig], None]) -> None:
    calibration = read_calibration(folder / "calibration.toml")
    change(calibration.rig)
    write_calibration(folder / "calibration.toml", calibration)


def _folding_lens(folder: Path) -> None:
    _changed_camera(folder, lambda rig: rig.distortion[1].copy_(torch.tensor([-9.0, 0, 0, 0, 0])))


def _skewed(folder: Path) -> None:
    _changed_camera(folder, lambda rig: rig.K[1, 0, 1].fill_(5))


def _without_focal_length(folder: Path) -> None:
    _changed_camera(folder, lambda rig: rig.K[1, 0, 0].fill_(0))


def _other_size_alone(folder: Path) -> None:
    calibration = read_calibration(folder / "calibration.toml")
    calibration.sizes[1] = torch.tensor([640, 480])
    write_calibration(folder / "calibration.toml", calibration)


def _points_of_other_frames(folder: Path) -> None:
    with h5py.File(folder / "points3d.h5", "r+") as file:
        file["frames"][...] = [500, 560]


def _cut_video(folder: Path) -> None:
    path = folder / "cam1" / "cam1.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (160, 120))
    for _ in range(40):
        writer.write(np.full((120, 160, 3), 60, np.uint8))
    writer.release()


def _labels_outside(folder: Path) -> None:
    def change(tracks: np.ndarray) -> None:
        tracks[0, 0, 3, 20:24] = 171.0

    _labels(folder, change)


def _away(folder: Path) -> None:
    for view in ("cam1", "cam2"):
        with h5py.File(folder / view / f"{view}.analysis.h5", "r+") as file:
            tracks = file["tracks"][()]
            tracks[..., 30:40] = np.nan
            file["tracks"][...] = tracks


def _nodes_in_another_order(folder: Path) -> None:
    with h5py.File(folder / "cam1" / "cam1.analysis.h5", "r+") as file:
        order = np.random.default_rng(0).permutation(len(file["node_names"]))
        names, tracks = file["node_names"][()][order], file["tracks"][()][:, :, order]
        edges = np.argsort(order)[file["edge_inds"][()]]
        scores = file["point_scores"][()][:, order]
        for name, values in (
            ("node_names", names),
            ("tracks", tracks),
            ("edge_inds", edges),
            ("point_scores", scores),
        ):
            file[name][...] = values


def _copied_view(folder: Path) -> None:
    shutil.copy(folder / "cam0" / "cam0.analysis.h5", folder / "cam1" / "cam1.analysis.h5")


def _half_a_video(folder: Path) -> None:
    path = folder / "cam1" / "cam1.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _without_late_labels(folder: Path) -> None:
    _labels(folder, lambda tracks: tracks[..., 8:].fill(np.nan))


def _video_that_ends_early(folder: Path) -> None:
    _without_late_labels(folder)
    _half_a_video(folder)


def _blank_stretch(folder: Path) -> None:
    _without_late_labels(folder)
    path = folder / "cam1" / "cam1.avi"
    content = bytearray(path.read_bytes())
    a, b = int(0.45 * len(content)), int(0.55 * len(content))
    content[a:b] = bytes(b - a)
    path.write_bytes(content)


def _broken_video(folder: Path) -> None:
    (folder / "cam1" / "cam1.avi").write_bytes(b"no video")


#: Fault -> what makes it of a clean session, the kinds of its findings, and what one of them names.
FILE_FAULTS: dict[str, tuple[Callable[[Path], None], set[str], str]] = {
    "points in another unit": (_points_in_centimetres, {"wrong unit"}, "points3d.h5"),
    "duplicated camera": (_duplicated_camera, {"duplicate cameras"}, "cam1 and cam2"),
    "camera of half the size": (_calibrated_at_half_size, {"K of another size"}, "calibrated for 80x60"),
    "video shorter than its labels": (
        *(_cut_video, {"video shorter than its labels", "videos of unequal length"}),
        "the video has 40",
    ),
    "labels outside of the picture": (_labels_outside, {"animal leaves the picture"}, "frames 20 to 23"),
    "animal away": (_away, {"animal leaves the volume"}, "30 to 39"),
    "nodes in another order": (_nodes_in_another_order, {"nodes in another order"}, "cam1"),
    "a view that is a copy": (_copied_view, {"duplicate views"}, "cam0 and cam1"),
    "broken video": (_broken_video, {"broken video"}, "cam1"),
    "half of a video": (_half_a_video, {"broken video"}, "cam1"),
    "half of a video, labels in the first": (_video_that_ends_early, {"broken video"}, "cam1"),
    "blank stretch of a video": (_blank_stretch, {"broken video"}, "cam1"),
    "folding lens": (_folding_lens, {"folding lens"}, "cam1: distortion (-9, 0, 0, 0, 0) folds over"),
    "skew": (_skewed, {"skewed camera matrix"}, "cam1: K[0,1] is 5 px"),
    "no focal length": (_without_focal_length, {"no camera matrix"}, "cam1: focal length 0"),
    "size alone": (_other_size_alone, {"wrong size in the file"}, "Write 160x120 as its size"),
    "points of other frames": (
        *(_points_of_other_frames, {"points of other frames"}),
        "points3d.h5: no point in a labelled frame: its rows are of frames 500 to 559, the labels of 0 to 59",
    ),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_a_fault_of_the_files_is_named(fault: str, clean: Path, tmp_path: Path) -> None:
    make, kinds, words = FILE_FAULTS[fault]
    folder = tmp_path / "session"
    shutil.copytree(clean, folder)
    make(folder)
    found = inspect_recording(read_recording(folder)).findings
    assert kinds <= {finding.kind for finding in found}, found
    assert any(words in str(finding) for finding in found if finding.kind in kinds)
    told_beside = {finding.kind for finding in found} - kinds
    # A copied camera, or view, cannot agree with the others either.
    assert not told_beside or fault in (
        "duplicated camera",
        "a view that is a copy",
        "camera of half the size",
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_view_is_named_through_the_files(fault: str, tmp_path: Path) -> None:
    """And nothing else, though the points of the session do not fit the view either."""
    from refkp.systems.multiview.data.generator import make_session

    make, kind, words = FAULTS[fault]
    spec = SessionSpec(num_frames=60, num_views=3, with_videos=False)
    (tmp_path / "session").mkdir()
    write_session(tmp_path / "session", make(make_session(spec, seed=4)), spec)
    found = [
        f for f in inspect_recording(read_recording(tmp_path / "session")).findings if f.kind != "no video"
    ]
    assert [finding.kind for finding in found] == [kind], found
    # Of this one the file alone tells, in other words than the labels.
    assert words in f"{found[0].where} {found[0].measured}" or fault == "K of half the size"


def test_the_command_tells_and_draws(clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["multiview", "inspect", str(clean), "--out", str(tmp_path / "out")]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["num_frames"] == 60
    assert summary["findings"] == []
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        *("labels.png", "errors.png", "space.png", "views.png")
    }
    folder = tmp_path / "wrong"
    shutil.copytree(clean, folder)
    _duplicated_camera(folder)
    assert cli.main(["multiview", "inspect", str(clean), str(folder)]) == 1
    told = capsys.readouterr().out
    assert "* duplicate cameras: cam1 and cam2: they have the same K, R and t." in told
    assert cli.main(["multiview", "inspect", str(folder), "--leave_out", "cam1"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_clean_session_of_files_raises_nothing(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    spec = SessionSpec(
        num_frames=40 + 10 * (seed % 4),
        num_views=2 + seed % 4,
        size=(120, 160) if seed % 2 else (150, 120),
        noise_px=float(rng.uniform(0.1, 0.6)),
        missing=float(rng.uniform(0, 0.3)),
        k1=float(rng.uniform(-0.3, 0.1)),
    )
    generate_session(tmp_path / "session", spec, seed)
    assert inspect_recording(read_recording(tmp_path / "session")).findings == []
