"""Which files of a session are of which view.

Three ways in which people keep a session are known; hidden files and folders are not seen:

    <session>/<view>/     the labels and the video of one view; the folder names it (Anipose)
    <session>/<any>/      labels `*_cam<X>.*` of all views, their videos `*_cam<X>.*` there or in the session
    <session>/            labels and videos of all views, named by `_cam<X>` or by a calibrated camera
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from refkp._checks import fail
from refkp.systems.multiview.reading.deeplabcut import is_table

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".webm")

#: HDF5 files of a session that are no labels.
_NO_LABELS = re.compile(r"(points3d|reprojections|calibration\.metadata)", re.IGNORECASE)


class ViewFiles(NamedTuple):
    """The files of one view."""

    name: str
    labels: Path
    videos: tuple[Path, ...]


def find_sessions(path: Path) -> tuple[Path, ...]:
    """The session in a folder, or the sessions that are its children, sorted.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no session in it.
    """
    if not path.is_dir():
        raise FileNotFoundError(
            f"refkp multiview: there is no folder {path}. Name that of a session, or of several."
        )
    if is_session(path):
        return (path,)
    sessions = tuple(child for child in _folders(path) if is_session(child))
    if not sessions:
        rule = (
            "a session: views with labels (.slp, .analysis.h5, DeepLabCut's or Lightning Pose's tables), "
            "two at least, or one and cameras"
        )
        remedy = "Add the other views or a calibration.toml, or name the folder above that has them."
        fail("refkp multiview", str(path), rule, _what_is_there(path), remedy)
    return sessions


def is_session(folder: Path) -> bool:
    """Whether there are labels of at least two views, or of one and a calibration."""
    views = _views(folder, camera_names=())
    return len(views) > 1 or (
        calibration_of(folder) is not None and bool(views or _label_files(folder, None))
    )


def _what_is_there(folder: Path) -> str:
    """Of a folder that is no session, in words."""
    views, cameras = _views(folder, camera_names=()), calibration_of(folder)
    labels = [path for files in views.values() for path in files] or _label_files(folder, None)
    tables = [path for place in (folder, *_folders(folder)) for path in _other_tables(place, None)]
    if not labels and not tables and cameras is None:
        names = ", ".join(child.name for child in sorted(folder.iterdir())[:8])
        return f"a folder with {names or 'nothing'}"
    whose = ", ".join(views) or "cameras that their names do not tell"
    told = [f"labels of {whose} ({_listed(folder, labels)})" if labels else "no labels"]
    told += [f"{_listed(folder, tables)}, without the header rows of DeepLabCut"] if tables else []
    told += ["no cameras" if cameras is None else f"cameras in {cameras.relative_to(folder)}"]
    return "; ".join(told)


def _listed(folder: Path, files: Sequence[Path]) -> str:
    names = [path.relative_to(folder).as_posix() for path in files]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def calibration_of(folder: Path) -> Path | None:
    """The file of the cameras: `calibration.toml`, or the folder of COLMAP's text files."""
    if (folder / "calibration.toml").is_file():
        return folder / "calibration.toml"
    for place in (folder, folder / "colmap", folder / "sparse" / "0", folder / "sparse"):
        if (place / "cameras.txt").is_file():
            return place
    return None


def view_files(
    folder: Path, *, camera_names: Sequence[str] = (), labels: str | None = None
) -> list[ViewFiles]:
    """The views of a session, sorted by name.

    Args:
        folder: of the session.
        camera_names: names of calibrated cameras, which tell views apart where all their files lie together.
        labels: glob that the name of a label file must match; where a view has several of equal rank.

    Raises:
        ValueError: no labels, or several of equal rank for a view; lists them.
    """
    groups = _views(folder, camera_names, labels)
    if not groups:
        pattern = f" that match {labels!r}" if labels else ""
        fail("refkp multiview", str(folder), f"a session with labels{pattern}", "none")
    named = sorted(groups.items())
    return [ViewFiles(name, best_labels(name, files), _videos(folder, name, files)) for name, files in named]


def videos_of(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """The videos of a session by the names of cameras, of those that have one; labels are not looked at.

    A camera's video is the one in its folder, or the one with `_cam<name>` or the name as a word in its own.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: several videos for a camera.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"refkp multiview: there is no folder {folder}. Name that of a session.")
    found = {}
    for name in names:
        inside = _video_files(folder / name) if (folder / name).is_dir() else []
        others = [path for place in (folder, *_folders(folder)) for path in _video_files(place)]
        named = [path for path in others if name in (_camera_in(path), _calibrated_in(path, [name]))]
        videos = inside or named
        if len(videos) > 1:
            fail("refkp multiview", str(folder), f"with one video of {name}", _listed(folder, videos))
        if videos:
            found[name] = videos[0]
    return found


def best_labels(view: str, files: Sequence[Path]) -> Path:
    """The labels of a view: projects before exports, then proofread ones before plain ones before predictions.

    Raises:
        ValueError: several are equally good.
    """
    best = min(_rank(path) for path in files)
    chosen = [path for path in files if _rank(path) == best]
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen)
        fail("refkp multiview", "labels", f"one file for the view {view}", names, "Choose by --labels GLOB.")
    return chosen[0]


def _rank(path: Path) -> tuple[int, int]:
    name = path.name.lower()
    kinds: tuple[Callable[[str], bool], ...] = (
        lambda name: name.endswith(".slp"),
        lambda name: name.endswith(".analysis.h5"),
        lambda name: name.endswith((".h5", ".hdf5")),
    )
    kind = next((index for index, is_kind in enumerate(kinds) if is_kind(name)), len(kinds))
    quality = 0 if "proofread" in name or "collecteddata" in name else 2 if "prediction" in name else 1
    return kind, quality


def _views(folder: Path, camera_names: Sequence[str], labels: str | None = None) -> dict[str, list[Path]]:
    """View -> its label files.

    A table without its header is taken for that of a view which has a video and no other labels: what it lacks is for
    the reader to tell, and no view goes missing in silence.
    """
    views, children = _grouped(folder, camera_names, labels), _folders(folder)
    if not views:
        return {}
    if views.keys() <= {child.name for child in children}:
        others = {child.name: _other_tables(child, labels) for child in children}
    else:
        places = (_other_tables(place, labels) for place in (folder, *children))
        others = _by_name(chain.from_iterable(places), camera_names)
    unread = {name: files for name, files in others.items() if files and _videos(folder, name, files)}
    return unread | views


def _grouped(folder: Path, camera_names: Sequence[str], labels: str | None) -> dict[str, list[Path]]:
    """View -> its label files, tables without their header left aside."""
    together = _by_name(_label_files(folder, labels), camera_names)
    children = {child: _label_files(child, labels) for child in _folders(folder)}
    below = [path for files in children.values() for path in files]
    if len({_camera_in(path) for path in below} - {None}) > 1 and _share_folders(folder, children):
        return _by_name([*_label_files(folder, labels), *below], camera_names)
    return together or {child.name: files for child, files in children.items() if files}


def _share_folders(folder: Path, children: dict[Path, list[Path]]) -> bool:
    """Whether `_cam<X>` tells views apart, not the folder: several in one, or the videos lie in the session."""
    several = any(len({_camera_in(path) for path in files} - {None}) > 1 for files in children.values())
    return several or any(_camera_in(path) for path in _video_files(folder))


def _by_name(files: Iterable[Path], camera_names: Sequence[str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in files:
        name = _camera_in(path) or _calibrated_in(path, camera_names)
        if name:
            groups.setdefault(name, []).append(path)
    return groups


def _camera_in(path: Path) -> str | None:
    """What follows the last `_cam` of a file's name.

    >>> _camera_in(Path("walk_camB.predictions.slp"))
    'B'
    """
    found = re.findall(r"_cam([^._\s]+?)(?=DLC|[._\s]|$)", path.name)
    return found[-1] if found else None


def _calibrated_in(path: Path, camera_names: Sequence[str]) -> str | None:
    """The camera whose name is a word of the file's name."""
    words = re.split(r"[-_.\s]|DLC", path.name.casefold())
    found = [name for name in camera_names if name.casefold() in words]
    return found[0] if len(found) == 1 else None


def _label_files(folder: Path, labels: str | None) -> list[Path]:
    return [path for path in _files(folder) if _are_labels(path) and (labels is None or path.match(labels))]


def _are_labels(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return is_table(path)
    return suffix == ".slp" or (suffix in (".h5", ".hdf5") and not _NO_LABELS.match(path.name))


def _other_tables(folder: Path, labels: str | None) -> list[Path]:
    tables = (path for path in _files(folder) if path.suffix.lower() == ".csv" and not is_table(path))
    return [path for path in tables if labels is None or path.match(labels)]


def _videos(folder: Path, view: str, labels: Sequence[Path]) -> tuple[Path, ...]:
    """The videos that may be of a view: those with its `_cam<X>`, else those beside its labels."""
    places = dict.fromkeys([*(path.parent for path in labels), folder])
    videos = [path for place in places for path in _video_files(place)]
    named = [path for path in videos if _camera_in(path) == view or _calibrated_in(path, [view]) == view]
    beside = [path for path in videos if path.parent != folder]
    return tuple(named or beside)


def _video_files(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if path.suffix.lower() in VIDEOS]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
