"""Sessions in every layout become recordings; what is ambiguous or missing is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("sleap_io", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")

import h5py
import sleap_io as sio

from refkp.systems.multiview.data.generator import MadeUpSession, generate_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.frames import read_frame
from refkp.systems.multiview.inspection import inspect_recording
from refkp.systems.multiview.reading import read_recording
from refkp.systems.multiview.reading.layout import find_sessions, videos_of
from refkp.systems.multiview.reading.points import write_points, write_projections
from refkp.systems.multiview.session import observations


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MadeUpSession]:
    folder = tmp_path_factory.mktemp("made") / "walk"
    return folder, generate_session(folder, SessionSpec(num_frames=6, num_views=3, size=(48, 64)), seed=1)


@pytest.fixture
def folder(made: tuple[Path, MadeUpSession], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "walk"))


def _one_folder_below(folder: Path) -> None:
    """Layout of one folder with the labels of all views; videos in the session."""
    (folder / "labels").mkdir()
    for index in range(3):
        view = folder / f"cam{index}"
        (view / f"cam{index}.analysis.h5").rename(folder / "labels" / f"walk_cam{index}.h5")
        (view / f"cam{index}.avi").rename(folder / f"walk_cam{index}.avi")
        view.rmdir()


def _flat(folder: Path) -> None:
    """All files together, the cameras named in them."""
    for index in range(3):
        view = folder / f"cam{index}"
        (view / f"cam{index}.analysis.h5").rename(folder / f"walk-cam{index}.analysis.h5")
        (view / f"cam{index}.avi").rename(folder / f"walk-cam{index}.avi")
        view.rmdir()


def _as_projects(folder: Path) -> None:
    """SLEAP projects in place of analysis files, beside what other people leave there."""
    for index in range(3):
        view = folder / f"cam{index}"
        labels = sio.load_file(str(view / f"cam{index}.analysis.h5"))
        sio.save_slp(labels, str(view / f"walk_{index}_proofread.slp"), embed=False)
        sio.save_slp(labels, str(view / f"walk_{index}.predictions.slp"), embed=False)
        (view / f"cam{index}.analysis.h5").unlink()
        (view / "._hidden.slp").write_bytes(b"")
        (view / "calibration_images").mkdir()
    (folder / ".cache").mkdir()


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "a folder for each view": lambda folder: None,
    "one folder below": _one_folder_below,
    "flat": _flat,
    "projects": _as_projects,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_recording(
    layout: str, folder: Path, made: tuple[Path, MadeUpSession]
) -> None:
    LAYOUTS[layout](folder)
    assert find_sessions(folder) == (folder,)
    recording = read_recording(folder)
    want = made[1].labels
    seen = observations(recording)
    np.testing.assert_allclose(seen.xy, want[seen.frames], atol=1e-9)
    assert seen.frames.tolist() == list(range(6))
    assert [view.video.stem[-1] for view in recording.views if view.video] == ["0", "1", "2"]
    assert recording.calibration is not None
    assert recording.calibration.of(recording.view_names).names == recording.view_names
    assert recording.points is not None
    np.testing.assert_array_equal(recording.points.xyz[:, 0], made[1].points)


def test_a_frame_of_all_views(folder: Path, made: tuple[Path, MadeUpSession]) -> None:
    frame = read_frame(read_recording(folder), 4)
    assert (frame.names, frame.sizes) == (("cam0", "cam1", "cam2"), ((64, 48),) * 3)
    assert all(picture is not None and picture.shape == (48, 64, 3) for picture in frame.pictures)
    np.testing.assert_allclose(frame.xy, made[1].labels[4], atol=1e-9)
    with pytest.raises(ValueError, match="a frame that can be decoded of the 6"):
        read_frame(read_recording(folder), 6)


def _rename_joints(folder: Path, *, to: list[str]) -> None:
    with h5py.File(folder / "cam1" / "cam1.analysis.h5", "a") as file:
        names = [*to, *file["node_names"].asstr()[len(to) :]]
        del file["node_names"]
        file["node_names"] = np.array(names, dtype="S")


def test_points_are_of_the_joints_that_most_views_have(
    folder: Path, made: tuple[Path, MadeUpSession]
) -> None:
    write_projections(folder / "reprojections.h5", {"cam0": made[1].labels[:, None, 0]})
    second = read_recording(folder).joints[1]
    _rename_joints(folder, to=[second, "elbow"])
    recording = read_recording(folder)
    assert recording.joints[-1] == "elbow"
    assert recording.points is not None
    assert recording.reprojections is not None
    np.testing.assert_array_equal(recording.points.xyz[:, 0, :-1], made[1].points)
    assert np.isnan(recording.points.xyz[:, 0, -1]).all()
    np.testing.assert_allclose(recording.reprojections.xy["cam0"][:, 0, :-1], made[1].labels[:, 0])
    told = [found for found in inspect_recording(recording).findings if found.kind == "unknown joints"]
    assert [found.where for found in told] == ["cam1"]
    assert told[0].measured == "no trunk, but elbow, which most views do not have"


@pytest.mark.parametrize(("names", "told"), [(["", "b"], "one without a name"), (["b", "b"], "b twice")])
def test_joints_have_different_names(names: list[str], told: str, folder: Path) -> None:
    _rename_joints(folder, to=names)
    with pytest.raises(
        ValueError, match=f"cam1.analysis.h5` must be of joints with different names; got {told}"
    ):
        read_recording(folder)


def test_views_are_left_out_and_joints_matched_by_name(
    folder: Path, made: tuple[Path, MadeUpSession]
) -> None:
    with h5py.File(folder / "cam2" / "cam2.analysis.h5", "a") as file:
        for name, axis in (("tracks", 2), ("point_scores", 1), ("node_names", 0)):
            values = np.flip(file[name][()], axis)
            del file[name]
            file[name] = values
    recording = read_recording(folder, leave_out=["cam1"])
    assert recording.view_names == ("cam0", "cam2")
    np.testing.assert_allclose(observations(recording).xy, made[1].labels[:, [0, 2]], atol=1e-9)
    assert recording.views[1].joints == recording.joints[::-1]
    with pytest.raises(ValueError, match=r"views of .*: cam0, cam1, cam2; got 'cam9'"):
        read_recording(folder, leave_out=["cam9"])


def test_points_know_their_first_frame(folder: Path, made: tuple[Path, MadeUpSession]) -> None:
    with h5py.File(folder / "points3d.h5", "a") as file:
        part = file["tracks"][2:5]
        part[0, 0, 3] = 0  # as some write what is missing
        del file["tracks"], file["frames"]
        file["tracks"], file["frames"] = part, np.array([2, 5])
    points = read_recording(folder).points
    assert points is not None
    assert points.first_frame == 2
    assert np.isnan(points.xyz[0, 0, 3]).all()
    np.testing.assert_array_equal(points.xyz[1:, 0], made[1].points[3:5])


@pytest.mark.parametrize(
    ("value", "told"),
    [(np.inf, r"cam1\.analysis\.h5` must be of finite points.* got infinity in frame 3"),
     (np.nan, r"with a point in some frame; got none.* --leave_out cam1")],
)  # fmt: skip
def test_labels_that_are_no_points_are_told(value: float, told: str, folder: Path) -> None:
    with h5py.File(folder / "cam1" / "cam1.analysis.h5", "a") as file:
        if np.isnan(value):
            file["tracks"][...] = value
        else:
            file["tracks"][..., 3] = value
    with pytest.raises(ValueError, match=told):
        read_recording(folder)


def test_points_of_another_file(folder: Path, made: tuple[Path, MadeUpSession], tmp_path: Path) -> None:
    write_points(tmp_path / "mine.h5", made[1].points[2:, None] + 1, 2)
    points = read_recording(folder, points=tmp_path / "mine.h5").points
    assert points is not None
    assert points.first_frame == 2
    np.testing.assert_allclose(points.xyz[:, 0], made[1].points[2:] + 1)
    with pytest.raises(FileNotFoundError, match=r"none\.h5"):
        read_recording(folder, points=tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("arrange", "names"),
    [
        (None, ("cam0", "cam1", "cam2")),
        (_one_folder_below, ("0", "1", "2")),
        (_flat, ("cam0", "cam1", "cam2")),
    ],
)
def test_videos_are_found_by_their_cameras(
    arrange: Callable[[Path], None] | None, names: tuple[str, ...], folder: Path
) -> None:
    if arrange is not None:
        arrange(folder)
    for labels in (*folder.rglob("*.analysis.h5"), *folder.rglob("walk_cam*.h5")):
        labels.unlink()  # they are not looked at
    found = videos_of(folder, [*names, "top"])
    assert list(found) == list(names)
    assert all(path.suffix == ".avi" and str(index) in path.stem for index, path in enumerate(found.values()))
    first = found[names[0]]
    shutil.copy(first, first.with_suffix(".mp4"))
    with pytest.raises(ValueError, match=f"one video of {names[0]}"):
        videos_of(folder, names)


def test_equally_good_labels_are_not_guessed(folder: Path) -> None:
    shutil.copy(folder / "cam1" / "cam1.analysis.h5", folder / "cam1" / "second.analysis.h5")
    with pytest.raises(
        ValueError, match=r"one file for the view cam1; got cam1\.analysis\.h5, second\.analysis\.h5"
    ):
        read_recording(folder)
    assert read_recording(folder, labels="cam*").view_names == ("cam0", "cam1", "cam2")


def test_a_view_without_a_camera_is_told_when_cameras_are_wanted(folder: Path) -> None:
    (folder / "cam1").rename(folder / "ceiling")
    calibration = read_recording(folder).calibration
    assert calibration is not None
    with pytest.raises(ValueError, match="Without a camera: ceiling"):
        calibration.of(read_recording(folder).view_names)


def test_sessions_of_a_project_are_found(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "again")
    (tmp_path / "notes").mkdir()
    assert [path.name for path in find_sessions(tmp_path)] == ["again", "walk"]
    with pytest.raises(ValueError, match=r"a session: views with labels"):
        find_sessions(tmp_path / "notes")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        find_sessions(tmp_path / "nothing")


def test_what_a_folder_has_and_lacks_is_told(folder: Path) -> None:
    for name in ("cam1", "cam2"):
        shutil.rmtree(folder / name)
    assert find_sessions(folder) == (folder,)  # one view, and cameras
    (folder / "calibration.toml").unlink()
    told = r"got labels of cam0 \(cam0/cam0.analysis.h5\); no cameras\. Add the other views"
    with pytest.raises(ValueError, match=told):
        find_sessions(folder)
    with pytest.raises(
        ValueError, match=r"got labels of cameras .* \(cam0.analysis.h5\); no cameras\. .*above"
    ):
        find_sessions(folder / "cam0")
    (folder / "cam0" / "cam0.analysis.h5").rename(folder / "cam0" / "x.txt")
    (folder / "cam0" / "labels.csv").write_text("frame,nose_x,nose_y\n0,1,2\n")
    with pytest.raises(
        ValueError, match=r"got no labels; cam0/labels\.csv, without the header rows of DeepLabCut"
    ):
        find_sessions(folder)


TABLE = "scorer,net,net\nbodyparts,nose,nose\ncoords,x,y\n0,1,2\n"


@pytest.mark.parametrize("layout", ["a folder for each view", "flat"])
def test_a_view_whose_table_has_no_header_is_told(layout: str, folder: Path) -> None:
    LAYOUTS[layout](folder)
    for path in [path for path in folder.glob("**/*.analysis.h5") if "points" not in path.name]:
        path.with_name(path.name.replace(".analysis.h5", ".csv")).write_text(TABLE)
        path.unlink()
    (folder / "notes").mkdir()
    (folder / "notes" / "temperature.csv").write_text("time,temperature\n0,21\n")
    (folder / "points3d.h5").unlink()
    assert read_recording(folder).view_names == ("cam0", "cam1", "cam2")
    (table,) = folder.glob("**/*cam1.csv")
    table.write_text(TABLE.split("coords,x,y\n")[1])
    assert find_sessions(folder) == (folder,)
    with pytest.raises(ValueError, match=r"cam1.csv` must be with the header rows .* begins with '0,1,2'"):
        read_recording(folder)
    assert read_recording(folder, leave_out=["cam1"]).view_names == ("cam0", "cam2")
