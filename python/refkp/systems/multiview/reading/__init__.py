"""Any multi-view session as people have it becomes one `Recording`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.systems.multiview.calibration import Calibration
from refkp.systems.multiview.reading.cameras import read_calibration
from refkp.systems.multiview.reading.deeplabcut import read_table
from refkp.systems.multiview.reading.labels import FileLabels
from refkp.systems.multiview.reading.layout import ViewFiles, calibration_of, view_files
from refkp.systems.multiview.reading.points import read_points, read_projections
from refkp.systems.multiview.reading.sleap import read_analysis, read_slp
from refkp.systems.multiview.session import Labels, Recording, SpacePoints, SpaceProjections, View


def read_recording(
    folder: Path | str,
    *,
    calibration: Path | str | None = None,
    points: Path | str | None = None,
    labels: str | None = None,
    leave_out: Sequence[str] = (),
) -> Recording:
    """Read a session: its views, labels, videos, cameras and points, none of which must be renamed.

    Joints are in the order of the first view, those that only others have behind them, each matched by name. Tracks
    are matched by name too; where each view has one, they are one animal. Points in space have no names: they are of
    these joints, or of those that most views have.

    Args:
        folder: of one session (`reading.layout` says in which forms).
        calibration: other cameras than those in the folder.
        points: another file of points in space than the `points3d.h5` in the folder.
        labels: glob for the label files, where a view has several.
        leave_out: views not to read, by name.

    Raises:
        FileNotFoundError: no such folder, calibration or points.
        ValueError: what is broken or ambiguous, with the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"read_recording: there is no folder {folder}.")
    place = Path(calibration) if calibration is not None else calibration_of(folder)
    cameras = read_calibration(place) if place is not None else None
    found = view_files(folder, camera_names=cameras.names if cameras else (), labels=labels)
    files = _kept(folder, found, leave_out)
    read = [_read_labels(view) for view in files]
    joints = tuple(dict.fromkeys(joint for view in read for joint in view.joints))
    skeleton = Counter(labels.joints for labels in read).most_common(1)[0][0]
    tracks = _tracks(read)
    views = tuple(
        View(view.name, _arranged(labels, joints, tracks), view.labels, labels.joints, _video(view, labels))
        for view, labels in zip(files, read, strict=True)
    )
    edges = tuple(dict.fromkeys((joints.index(a), joints.index(b)) for view in read for a, b in view.edges))
    return Recording(
        folder.resolve().name,
        folder,
        joints,
        edges,
        tracks,
        views,
        cameras,
        _points(_points_file(folder, files) if points is None else Path(points), joints, skeleton),
        _projections(folder, joints, skeleton),
    )


def _kept(folder: Path, files: list[ViewFiles], leave_out: Sequence[str]) -> list[ViewFiles]:
    names = [view.name for view in files]
    for name in leave_out:
        if name not in names:
            fail("read_recording", "leave_out", f"views of {folder}: {', '.join(names)}", repr(name))
    kept = [view for view in files if view.name not in leave_out]
    if not kept:
        fail("read_recording", "leave_out", f"some of {', '.join(names)}", "all of them")
    return kept


def _read_labels(view: ViewFiles) -> FileLabels:
    try:
        labels = _read_file(view)
    except ValueError as error:
        raise ValueError(f"{error} Or read the others alone: --leave_out {view.name}.") from error
    infinite = np.isinf(labels.labels.xy).any((1, 2, 3))
    if infinite.any():
        frame, rule = labels.labels.frames[infinite][0], "of finite points, NaN where one is missing"
        fail("read_recording", str(view.labels), rule, f"infinity in frame {frame}", "Write it again.")
    twice = [name for name, count in Counter(labels.joints).items() if count > 1]
    if twice or not all(name.strip() for name in labels.joints):
        got = f"{', '.join(twice)} twice" if twice else "one without a name"
        fail("read_recording", str(view.labels), "of joints with different names", got, "Name each joint.")
    return labels


def _read_file(view: ViewFiles) -> FileLabels:
    path, name = view.labels, view.labels.name.lower()
    if name.endswith(".slp"):
        return read_slp(path, view.videos[0].name if len(view.videos) == 1 else None)
    if name.endswith(".csv") or not _is_analysis(path):
        return read_table(path)
    return read_analysis(path)


def _is_analysis(path: Path) -> bool:
    """Whether an HDF5 file is SLEAP's; what is neither HDF5 nor whole is told by its reader."""
    with named_extras():
        import h5py
    try:
        with h5py.File(path) as file:
            return "tracks" in file or path.name.lower().endswith(".analysis.h5")
    except (OSError, RuntimeError):
        return True


def _tracks(read: Sequence[FileLabels]) -> tuple[str, ...]:
    if all(len(labels.tracks) == 1 for labels in read):
        return read[0].tracks
    return tuple(sorted({track for labels in read for track in labels.tracks}))


def _arranged(read: FileLabels, joints: tuple[str, ...], tracks: tuple[str, ...]) -> Labels:
    """The labels of a file in the recording's order of joints and tracks; NaN where the file has none."""
    labels = read.labels
    to_joint = [joints.index(name) for name in read.joints]
    to_track = [0] if len(tracks) == len(read.tracks) == 1 else [tracks.index(name) for name in read.tracks]
    shape = (len(labels.frames), len(tracks), len(joints))
    xy, score = np.full((*shape, 2), np.nan), np.full(shape, np.nan)
    by_user = np.zeros(shape[:2], dtype=bool)
    places = np.ix_(range(shape[0]), to_track, to_joint)
    xy[places], score[places] = labels.xy, labels.score
    by_user[:, to_track] = labels.by_user
    return Labels(labels.frames, xy, score, by_user)


def _video(view: ViewFiles, labels: FileLabels) -> Path | None:
    """The video that the labels name, else the only one, else the one whose name the labels begin with."""
    for matches in (
        [path for path in view.videos if path.name == labels.video],
        list(view.videos),
        [path for path in view.videos if view.labels.name.startswith(path.stem)],
    ):
        if len(matches) == 1:
            return matches[0]
    if view.videos:
        names = ", ".join(path.name for path in view.videos)
        rule = "of one of the videos beside it"
        fail("read_recording", str(view.labels), rule, names, "Keep the one that was labelled.")
    return None


def _points_file(folder: Path, files: Sequence[ViewFiles]) -> Path | None:
    """The file of points in a session, or beside the labels of a view."""
    places = dict.fromkeys([folder, *(view.labels.parent for view in files)])
    found = (place / "points3d.h5" for place in places)
    return next((file for file in found if file.is_file()), None)


def _points(path: Path | None, joints: tuple[str, ...], skeleton: tuple[str, ...]) -> SpacePoints | None:
    if path is None:
        return None
    found = read_points(path, len(joints), len(skeleton))
    return found._replace(xyz=_spread(found.xyz, joints, skeleton))


def _spread(values: np.ndarray, joints: tuple[str, ...], skeleton: tuple[str, ...]) -> np.ndarray:
    """Values [F,A,J,D] of a skeleton at all joints of the recording; NaN at the others."""
    if values.shape[2] == len(joints):
        return values
    result = np.full((*values.shape[:2], len(joints), values.shape[3]), np.nan)
    result[:, :, [joints.index(name) for name in skeleton]] = values
    return result


def _projections(folder: Path, joints: tuple[str, ...], skeleton: tuple[str, ...]) -> SpaceProjections | None:
    files = sorted(path for path in folder.glob("reprojections*.h5") if path.is_file())
    exact = [path for path in files if path.name == "reprojections.h5"] or files
    if len(exact) > 1:
        names = ", ".join(path.name for path in exact)
        fail(
            "read_recording",
            str(folder),
            "with one reprojections*.h5",
            names,
            "Name the right one reprojections.h5.",
        )
    if not exact:
        return None
    found = read_projections(exact[0], len(joints), len(skeleton))
    return found._replace(xy={name: _spread(values, joints, skeleton) for name, values in found.xy.items()})


__all__ = ["Calibration", "read_calibration", "read_recording"]
