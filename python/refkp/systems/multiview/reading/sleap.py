"""SLEAP's files: projects (.slp), through sleap-io, and its analysis files (.h5).

What sleap-io takes care of, and the tests hold it to: a frame is `frame_idx` of the video, not the number of the row;
user and predicted points come from their own tables; nodes are in the order of the skeleton; files older than format
1.1 have their pixel corners at integers.
"""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.data.hdf5 import hdf5_file
from refkp.systems.multiview.calibration import PIXEL_CENTRE
from refkp.systems.multiview.reading.labels import FileLabels
from refkp.systems.multiview.session import UNTRACKED, Labels

if TYPE_CHECKING:
    import h5py
    import sleap_io


def read_slp(path: Path, video: str | None = None) -> FileLabels:
    """Read one video's labels of a SLEAP project.

    Where an animal has a user's and a predicted instance in a frame, the user's counts. A point that is marked as not
    visible is missing, as in SLEAP's analysis files.

    Args:
        path: .slp.
        video: base name of the video; needed where the file has several.

    Raises:
        ValueError: no SLEAP project, no labels, several videos and no choice, several skeletons, or two untracked
            animals in a frame, which nothing tells apart.
    """
    with named_extras():
        import sleap_io
    try:
        project = sleap_io.load_slp(str(path), open_videos=False)
    except Exception as error:  # whatever a truncated file makes of the readers below
        got, remedy = f"{type(error).__name__}: {error}", "Copy it again, or save it again in SLEAP."
        fail("read_slp", str(path), "a whole SLEAP project", got, remedy)
    chosen = _chosen_video(path, project.videos, video)
    frames = [frame for frame in project.labeled_frames if frame.video is chosen and frame.instances]
    if not frames:
        fail("read_slp", str(path), f"a project with labels of {_base_name(chosen)}", "none")
    skeletons = {instance.skeleton for frame in frames for instance in frame.instances}
    if len(skeletons) > 1:
        rule = "of one skeleton"
        fail("read_slp", str(path), rule, f"{len(skeletons)}", "Keep one kind of animal in a project.")
    (skeleton,) = skeletons
    tracks = _track_names(frames)
    labels = _arranged(path, frames, tracks, len(skeleton.nodes))
    edges = tuple((edge.source.name, edge.destination.name) for edge in skeleton.edges)
    return FileLabels(labels, tuple(skeleton.node_names), tracks, edges, _base_name(chosen))


def _chosen_video(path: Path, videos: list[sleap_io.Video], name: str | None) -> sleap_io.Video:
    if len(videos) == 1:
        return videos[0]
    matches = [video for video in videos if _base_name(video) == name]
    if len(matches) != 1:
        names = ", ".join(sorted(_base_name(video) for video in videos)) or "none"
        fail("read_slp", "video", f"one of those in {path}: {names}", repr(name))
    return matches[0]


def _base_name(video: sleap_io.Video) -> str:
    """The file of a video without its folder, whatever the system that wrote it."""
    filename: Any = video.filename
    return PureWindowsPath(filename if isinstance(filename, str) else filename[0]).name


def _track_names(frames: list[sleap_io.LabeledFrame]) -> tuple[str, ...]:
    """The tracks that have an instance, sorted."""
    return tuple(sorted({_track(instance) for frame in frames for instance in frame.instances}))


def _track(instance: sleap_io.Instance) -> str:
    return UNTRACKED if instance.track is None else instance.track.name


def _arranged(
    path: Path, frames: list[sleap_io.LabeledFrame], tracks: tuple[str, ...], num_joints: int
) -> Labels:
    """The instances of frames by frame number and track."""
    numbers = np.array(sorted({frame.frame_idx for frame in frames}), dtype=np.int64)
    shape = (len(numbers), len(tracks), num_joints)
    xy, score = np.full((*shape, 2), np.nan), np.full(shape, np.nan)
    filled, by_user = np.zeros(shape[:2], dtype=bool), np.zeros(shape[:2], dtype=bool)
    for frame in frames:
        row = int(np.searchsorted(numbers, frame.frame_idx))
        for instance in frame.instances:
            column, is_user = tracks.index(_track(instance)), not hasattr(instance, "score")
            if filled[row, column] and by_user[row, column] == is_user:
                rule = "with one instance of each track in a frame"
                got = f"two of {tracks[column] or 'no track'} in frame {frame.frame_idx}"
                fail("read_slp", str(path), rule, got, "Track the animals in SLEAP.")
            if filled[row, column] and not is_user:
                continue
            filled[row, column], by_user[row, column] = True, is_user
            xy[row, column] = np.where(instance.points["visible"][:, None], instance.points["xy"], np.nan)
            score[row, column] = np.nan if is_user else instance.points["score"]
    return Labels(numbers, xy + PIXEL_CENTRE, score, by_user)


def read_analysis(path: Path) -> FileLabels:
    """Read a SLEAP analysis file: `tracks` [A,2,J,F], where F counts the frames of the video.

    Raises:
        ValueError: not such a file, or not all of it is there.
    """
    with hdf5_file(path, "read_analysis") as file:
        return _analysis(path, file)


def _analysis(path: Path, file: h5py.File) -> FileLabels:
    missing = {"tracks", "node_names"} - file.keys()
    if missing:
        fail("read_analysis", str(path), "a SLEAP analysis file", f"no dataset {', '.join(sorted(missing))}")
    joints, tracks = _names(file, "node_names"), _names(file, "track_names")
    xy = np.asarray(file["tracks"][()], dtype=float)
    if xy.ndim != 4 or xy.shape[1] != 2 or xy.shape[2] != len(joints):
        rule = f"with `tracks` of [A,2,{len(joints)},F] as its node_names ask"
        fail("read_analysis", str(path), rule, list(xy.shape))
    tracks = tracks if len(tracks) == len(xy) else tuple(f"track_{index}" for index in range(len(xy)))
    scores = file["point_scores"][()] if "point_scores" in file else np.full(xy[:, 0].shape, np.nan)
    xy, scores = np.transpose(xy, (3, 0, 2, 1)), np.transpose(np.asarray(scores, dtype=float), (2, 0, 1))
    frames = np.flatnonzero(~np.isnan(xy).any(-1).all((1, 2)))
    if not len(frames):
        fail("read_analysis", str(path), "with a point in some frame", "none")
    edges = [
        (joints[a], joints[b]) for a, b in np.asarray(file["edge_inds"][()], dtype=int)
    ] if "edge_inds" in file else []  # fmt: skip
    labels = Labels(
        frames, xy[frames] + PIXEL_CENTRE, scores[frames], np.zeros((len(frames), len(tracks)), dtype=bool)
    )
    return FileLabels(labels, joints, tracks, tuple(edges), _video_name(file))


def _names(file: h5py.File, key: str) -> tuple[str, ...]:
    if key not in file:
        return ()
    return tuple(
        name.decode() if isinstance(name, bytes) else str(name) for name in np.atleast_1d(file[key][()])
    )


def _video_name(file: h5py.File) -> str | None:
    names = _names(file, "video_path")
    return PureWindowsPath(names[0]).name if names and names[0] else None
