"""`refkp multiview inspect`: what is wrong with a session, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refkp._files import write_json
from refkp.commands import output_folder, parsed, parser, table
from refkp.systems.multiview.commands.sessions import add_sessions, read_sessions

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.multiview.inspection import Inspection

_COMMAND = "refkp multiview inspect"
_EXAMPLE = f"refkp multiview generate --out session\n{_COMMAND} session --out report"


def inspect(argv: list[str]) -> int:
    """Print what sessions hold and what is wrong with them; exit 1 if anything is."""
    options = parsed(_parser(), argv)

    from refkp.systems.multiview.inspection import inspect_recording

    wrong = False
    recordings = read_sessions(options)
    for recording in recordings:
        found = inspect_recording(recording, options.track)
        wrong = wrong or bool(found.findings)
        _tell(found)
        if options.out is not None:
            _write(found, options.out if len(recordings) == 1 else options.out / recording.name)
    return 1 if wrong else 0


def _tell(found: Inspection) -> None:
    print(_facts(found))
    for title, rows in (("points of the session", found.given), ("points triangulated here", found.ours)):
        if rows:
            print(f"\nreprojection of the {title}, pixels")
            print(table(["view", "points", "mean", "median", "95 %", "mean without distortion"], rows))
    print()
    for finding in found.findings:
        print(f"* {finding}")
    count = len(found.findings)
    print("nothing is wrong" if not count else "1 finding" if count == 1 else f"{count} findings")


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, inspect.__doc__, example=_EXAMPLE)
    add_sessions(command)
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for pictures and summary.json; of several sessions, folders in it",
    )
    return command


def _facts(found: Inspection) -> str:
    """Views, frames, joints and what is missing, as text."""
    recording, seen = found.recording, found.seen
    visible = seen.visible
    rows = []
    for index, view in enumerate(recording.views):
        fact = found.videos.get(view.name)
        missing = (~visible[:, index]).sum(0)
        worst = sorted(zip(missing.tolist(), recording.joints, strict=True), reverse=True)
        gaps = ", ".join(f"{joint} {count}" for count, joint in worst[:4] if count)
        size = f"{fact.size[0]}x{fact.size[1]}" if fact else None
        rows.append((view.name, size, fact.num_frames if fact else None, int(seen.labelled[:, index].sum()),
                     int(visible[:, index].sum()), gaps or "none"))  # fmt: skip
    views = seen.labelled.sum(1)
    heading = (
        f"{recording.name}: {len(recording.views)} views, {len(seen.frames)} labelled frames "
        f"({int((views >= 2).sum())} in two views and more), {len(recording.joints)} joints, "
        f"{int(visible.sum())} points of {visible.size}"
    )
    columns = ["view", "size", "frames", "labelled", "points", "missing most"]
    return f"{heading}\n{table(columns, rows)}"


def _write(found: Inspection, out: Path) -> None:
    """Pictures, and everything in numbers."""
    from refkp.systems.multiview.pictures.sessions import inspection_figures
    from refkp.viz.figures import write_figure

    with output_folder(out) as folder:
        for name, figure in inspection_figures(found).items():
            write_figure(figure, folder / f"{name}.png")
        write_json(
            folder / "summary.json",
            {
                "session": found.recording.name,
                "views": list(found.recording.view_names),
                "joints": list(found.recording.joints),
                "num_frames": len(found.seen.frames),
                "num_points": int(found.seen.visible.sum()),
                "points_of_session": [row._asdict() for row in found.given],
                "points_triangulated": [row._asdict() for row in found.ours],
                "findings": [finding._asdict() for finding in found.findings],
            },
        )
    print(f"pictures and summary.json in {out}")
