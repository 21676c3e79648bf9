"""The labels of one file, whatever its format."""

from __future__ import annotations

from typing import NamedTuple

from refkp.systems.multiview.session import Labels


class FileLabels(NamedTuple):
    """The labels of a file, in its own order of joints and tracks."""

    labels: Labels
    joints: tuple[str, ...]
    tracks: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    video: str | None = None  # base name of the video that the file names
