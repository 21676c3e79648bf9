"""The files that samples come from, and their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from refkp.systems.multiview.session import Recording

#: Files up to here are read whole.
_WHOLE = 32 << 20
_END = 1 << 20


def source_digests(recording: Recording) -> dict[str, str]:
    """The labels, videos, cameras and points of a session: name, with that of the session before it -> `digest`."""
    return {
        f"{recording.name}/{_name(path, recording.folder)}": digest(path)
        for path in sorted(_files(recording))
    }


def digest(path: Path) -> str:
    """SHA-256 of a file. Of one above 32 MiB, as videos are: of its size, its first and its last MiB."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        total = hashlib.sha256(str(size).encode() + file.read(_END))
        file.seek(-_END, 2)
        total.update(file.read())
        return total.hexdigest()


def _files(recording: Recording) -> Iterator[Path]:
    for view in recording.views:
        yield view.labels_file
        if view.video is not None:
            yield view.video
    if recording.points is not None:
        yield recording.points.file
    cameras = None if recording.calibration is None else recording.calibration.file
    if cameras is not None:
        yield from sorted(cameras.glob("*.txt")) if cameras.is_dir() else [cameras]


def _name(path: Path, folder: Path) -> str:
    """Of a file in the session from there; of another, that of the file: the same on every machine."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
