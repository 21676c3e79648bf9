"""What the commands that read a session share: its options, and the recordings that they name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refkp._checks import fail

if TYPE_CHECKING:
    from refkp.systems.multiview.session import Recording


def add_sessions(parser: argparse.ArgumentParser) -> None:
    """Add which sessions to read, and how."""
    text = "folders of sessions, or one of several"
    parser.add_argument("sessions", type=Path, nargs="+", metavar="SESSION", help=text)
    add_reading(parser)


def add_session(parser: argparse.ArgumentParser) -> None:
    """Add which session to read, and how."""
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of a session")
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add how sessions are read."""
    add = parser.add_argument
    add("--calibration", type=Path, metavar="FILE", help="other cameras than those in the session")
    add("--points", type=Path, metavar="FILE", help="another points3d.h5 than that in the session")
    add("--labels", metavar="GLOB", help="names of the label files, where a view has several")
    add("--track", metavar="NAME", help="which animal, where there are several")
    add("--leave_out", nargs="+", default=[], metavar="VIEW", help="views not to read, by name")


def named_files(command: str, argument: str, texts: Sequence[str]) -> dict[str, Path]:
    """Files by the names that stand before them: NAME=FILE.

    Raises:
        ValueError: a text of another form.
    """
    pairs = [text.partition("=") for text in texts]
    for text, parts in zip(texts, pairs, strict=True):
        if not all(parts):
            fail(command, argument, "NAME=FILE", repr(text))
    return {name: Path(file) for name, _, file in pairs}


def require_no_session(command: str, out: Path) -> None:
    """Raise ValueError if `out` is a session: points of its own would be replaced."""
    from refkp.systems.multiview.reading.layout import is_session

    if out.is_dir() and is_session(out):
        remedy = "Name a folder of its own."
        fail(
            command,
            "out",
            "a folder that is no session, whose points would be replaced",
            repr(str(out)),
            remedy,
        )


def read_sessions(options: Any) -> list[Recording]:
    """The recordings that the options ask for."""
    from refkp.systems.multiview.reading.layout import find_sessions

    folders = [folder for place in options.sessions for folder in find_sessions(place)]
    if options.points is not None and len(folders) > 1:
        rule = "left out where there are several sessions: a file of points is of one"
        fail("refkp multiview", "points", rule, f"{options.points}, and {len(folders)} sessions")
    return [read_session(options, folder) for folder in folders]


def read_session(options: Any, folder: Path) -> Recording:
    """The recording in a folder, read as the options say."""
    from refkp.systems.multiview.reading import read_recording

    return read_recording(
        folder,
        calibration=options.calibration,
        points=options.points,
        labels=options.labels,
        leave_out=options.leave_out,
    )
