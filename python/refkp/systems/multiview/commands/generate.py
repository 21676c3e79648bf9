"""`refkp multiview generate`: a made-up session."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from refkp._checks import fail
from refkp.commands import add_out, parsed, parser

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_COMMAND = "refkp multiview generate"
_EXAMPLE = f"{_COMMAND} --out session --num_views 4 --num_frames 60 --size '[240, 320]'"


def generate(argv: list[str]) -> int:
    """Write a made-up session of a walking animal: a folder for each view, cameras, points in space."""
    options = parsed(_parser(), argv)
    _require_elsewhere(options.out)

    from refkp.systems.multiview.data.generator import generate_session
    from refkp.systems.multiview.data.spec import SessionSpec

    spec = SessionSpec(**{field.name: options[field.name] for field in fields(SessionSpec)})
    session = generate_session(options.out, spec, options.seed)
    frames, views, joints = session.labels.shape[:3]
    print(f"{views} views, {frames} frames, {joints} joints in {options.out}")
    return 0


def _require_elsewhere(out: Path) -> None:
    """Raise ValueError if `out` is where the caller is: it is replaced as a whole."""
    here = Path.cwd()
    if out.resolve() in (here, *here.parents):
        fail(_COMMAND, "out", "another folder than the one you are in", f"{str(out)!r}", "Name one in it.")


def _parser() -> ArgumentParser:
    from refkp.systems.multiview.data.spec import SessionSpec

    command = parser(_COMMAND, generate.__doc__, example=_EXAMPLE)
    add_out(command, "the session; an earlier made-up one is replaced")
    command.add_argument("--seed", type=int, default=0, help="of everything random")
    command.add_class_arguments(SessionSpec, nested_key=None, instantiate=False)
    return command
