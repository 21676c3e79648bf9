"""What the commands that read a session share: its options, and the recordings that they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    add("--labels", metavar="GLOB", help="names of the label files, where a view has several")
    add("--track", metavar="NAME", help="which animal, where there are several")
    add("--leave_out", nargs="+", default=[], metavar="VIEW", help="views not to read, by name")


def read_sessions(options: Any) -> list[Recording]:
    """The recordings that the options ask for."""
    from refkp.systems.multiview.reading.layout import find_sessions

    return [read_session(options, folder) for place in options.sessions for folder in find_sessions(place)]


def read_session(options: Any, folder: Path) -> Recording:
    """The recording in a folder, read as the options say."""
    from refkp.systems.multiview.reading import read_recording

    return read_recording(
        folder, calibration=options.calibration, labels=options.labels, leave_out=options.leave_out
    )
