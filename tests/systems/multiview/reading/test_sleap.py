"""SLEAP's projects and analysis files, as people have them: gaps, tracks, corrections, old formats, other systems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("sleap_io", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")

import h5py
import sleap_io as sio

from refkp.systems.multiview.body.species import quadruped
from refkp.systems.multiview.data.generator import write_analysis
from refkp.systems.multiview.reading.sleap import read_analysis, read_slp

NODES = ["head", "tail", "paw"]


def project(
    path: Path, frames: list[tuple[int, list[object]]], video: str = "D:\\lab\\cam\\walk.mp4"
) -> Path:
    """A project of one video with these instances."""
    film = sio.Video(filename=video, open_backend=False)
    labelled = [sio.LabeledFrame(video=film, frame_idx=index, instances=found) for index, found in frames]
    sio.save_slp(sio.Labels(labeled_frames=labelled), str(path), embed=False)
    return path


SKELETON = sio.Skeleton(nodes=list(NODES), edges=[("head", "tail"), ("head", "paw")])


def user(points: list[list[float]], track: object = None) -> object:
    return sio.Instance.from_numpy(np.array(points), skeleton=SKELETON, track=track)


def predicted(points: list[list[float]], score: float, track: object = None) -> object:
    return sio.PredictedInstance.from_numpy(
        np.array(points), point_scores=np.full(3, score), score=score, skeleton=SKELETON, track=track
    )


POINTS = [[10.0, 20.0], [30.0, 40.0], [np.nan, np.nan]]
OTHERS = [[11.0, 21.0], [31.0, 41.0], [51.0, 61.0]]


def test_frames_are_those_of_the_video_and_pixels_have_their_centres_at_a_half(tmp_path: Path) -> None:
    path = project(tmp_path / "a.slp", [(7, [user(POINTS)]), (21, [predicted(OTHERS, 0.25)])])
    read = read_slp(path)
    assert read.labels.frames.tolist() == [7, 21]
    assert (read.joints, read.video) == (tuple(NODES), "walk.mp4")
    assert read.edges == (("head", "tail"), ("head", "paw"))
    np.testing.assert_array_equal(read.labels.xy[:, 0], np.array([POINTS, OTHERS]) + 0.5)
    np.testing.assert_array_equal(read.labels.score[:, 0], [[np.nan] * 3, [0.25] * 3])
    assert read.labels.by_user.tolist() == [[True], [False]]


def test_a_project_older_than_the_pixel_centres_is_half_a_pixel_off(tmp_path: Path) -> None:
    path = project(tmp_path / "a.slp", [(0, [user(POINTS)])])
    with h5py.File(path, "a") as file:
        file["metadata"].attrs["format_id"] = 1.0
        rows = file["instances"][()]
        del file["instances"]
        file["instances"] = rows[[name for name in rows.dtype.names if name != "tracking_score"]]
    np.testing.assert_allclose(read_slp(path).labels.xy[0, 0], POINTS)


@pytest.mark.parametrize("order", [1, -1])
def test_what_a_person_placed_counts_before_what_was_predicted(order: int, tmp_path: Path) -> None:
    both = [user(POINTS), predicted(OTHERS, 0.5)][::order]
    read = read_slp(project(tmp_path / "a.slp", [(3, both)]))
    np.testing.assert_array_equal(read.labels.xy[0, 0], np.array(POINTS) + 0.5)
    assert read.labels.by_user.all()


def test_animals_are_told_apart_by_their_tracks(tmp_path: Path) -> None:
    ada, bob = sio.Track("ada"), sio.Track("bob")
    frames = [
        (0, [predicted(POINTS, 0.5, bob), predicted(OTHERS, 0.5, ada)]),
        (1, [predicted(POINTS, 0.5, ada)]),
    ]
    read = read_slp(project(tmp_path / "a.slp", frames))
    assert read.tracks == ("ada", "bob")
    np.testing.assert_array_equal(read.labels.xy[0, 0], np.array(OTHERS) + 0.5)
    assert np.isnan(read.labels.xy[1, 1]).all()
    untracked = project(tmp_path / "b.slp", [(4, [predicted(POINTS, 0.5), predicted(OTHERS, 0.5)])])
    with pytest.raises(ValueError, match=r"two of no track in frame 4\. Track the animals in SLEAP"):
        read_slp(untracked)


def test_a_point_that_is_not_visible_is_missing(tmp_path: Path) -> None:
    hidden = user(OTHERS)
    hidden.points["visible"][1] = False  # type: ignore[attr-defined]
    read = read_slp(project(tmp_path / "a.slp", [(0, [hidden])]))
    assert read.labels.visible[0, 0].tolist() == [True, False, True]


def test_one_of_several_videos_is_chosen_by_name(tmp_path: Path) -> None:
    films = [sio.Video(filename=f"C:\\x\\{name}.mp4", open_backend=False) for name in ("left", "right")]
    frames = [sio.LabeledFrame(video=film, frame_idx=index, instances=[user(POINTS)])
              for index, film in enumerate(films)]  # fmt: skip
    sio.save_slp(sio.Labels(labeled_frames=frames), str(tmp_path / "a.slp"), embed=False)
    assert read_slp(tmp_path / "a.slp", "right.mp4").labels.frames.tolist() == [1]
    with pytest.raises(
        ValueError, match=r"`video` must be one of those in .*: left\.mp4, right\.mp4; got None"
    ):
        read_slp(tmp_path / "a.slp")


@pytest.mark.parametrize("read", [read_slp, read_analysis])
@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", None])
def test_a_broken_file_is_named(read: object, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "broken.slp"
    whole = project(tmp_path / "whole.slp", [(0, [user(POINTS)])]).read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"broken\.slp` must be a whole"):
        read(path)  # type: ignore[operator]


def test_an_analysis_file(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).uniform(0, 100, (6, 17, 2))
    labels[2] = np.nan
    labels[3, 5] = np.nan
    write_analysis(tmp_path / "a.analysis.h5", labels, quadruped(), "E:/videos\\a.mp4")
    read = read_analysis(tmp_path / "a.analysis.h5")
    assert read.labels.frames.tolist() == [0, 1, 3, 4, 5]
    np.testing.assert_allclose(read.labels.xy[:, 0], labels[[0, 1, 3, 4, 5]])
    assert read.video == "a.mp4"
    assert not read.labels.visible[2, 0, 5]
    with h5py.File(tmp_path / "a.analysis.h5", "a") as file:
        del file["node_names"]
    with pytest.raises(ValueError, match="a SLEAP analysis file; got no dataset node_names"):
        read_analysis(tmp_path / "a.analysis.h5")
