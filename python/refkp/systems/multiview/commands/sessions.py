"""What the commands that read a session share: its options, and the recordings that they name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refkp.systems.multiview.session import Recording


def add_sessions(parser: argparse.ArgumentParser) -> None:
    """Add which sessions to read, and how."""
    add = parser.add_argument
    add("sessions", type=Path, nargs="+", metavar="SESSION", help="folders of sessions, or one of several")
    add("--calibration", type=Path, metavar="FILE", help="other cameras than those in the session")
    add("--labels", metavar="GLOB", help="names of the label files, where a view has several")
    add("--track", metavar="NAME", help="which animal, where there are several")
    add("--leave_out", nargs="+", default=[], metavar="VIEW", help="views not to read, by name")


def read_sessions(options: Any) -> list[Recording]:
    """The recordings that the options ask for."""
    from refkp.systems.multiview.reading import read_recording
    from refkp.systems.multiview.reading.layout import find_sessions

    folders = [folder for place in options.sessions for folder in find_sessions(place)]
    return [
        read_recording(
            folder, calibration=options.calibration, labels=options.labels, leave_out=options.leave_out
        )
        for folder in folders
    ]
