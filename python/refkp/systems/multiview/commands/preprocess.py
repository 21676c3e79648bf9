"""`refkp multiview preprocess`: sessions become the file that training reads."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refkp.commands import add_workers, parsed, parser, require_counts, require_file, table
from refkp.systems.multiview.commands.sessions import add_sessions, read_sessions

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.multiview.preprocessing.running import Preprocessed
    from refkp.systems.multiview.session import Recording

_COMMAND = "refkp multiview preprocess"
_EXAMPLE = f"refkp multiview generate --out session\n{_COMMAND} session samples.h5 --size 224"
_FLAGS = ("undistort", "no_3d_data", "soft_visibility")


def preprocess(argv: list[str]) -> int:
    """Write the pictures, labels, cameras and points of sessions into one file of samples; goes on after a break."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "workers")
    require_file(_COMMAND, "samples", options.samples)

    from refkp.systems.multiview.preprocessing.running import preprocess as write_samples
    from refkp.systems.multiview.preprocessing.spec import PreprocessSpec

    spec = PreprocessSpec(**{field.name: options[field.name] for field in fields(PreprocessSpec)})
    recordings = read_sessions(options)
    for recording in recordings:
        _judge(recording, options)
    done = write_samples(
        recordings, options.samples, spec, track=options.track, workers=options.workers, fresh=options.fresh
    )
    _tell(done)
    return 0


def _judge(recording: Recording, options: Any) -> None:
    """Refuse a session that cannot be used; print what else is wrong with it."""
    from refkp.systems.multiview.inspection import inspect_recording
    from refkp.systems.multiview.inspection.refusal import refuse_broken

    findings = inspect_recording(recording, options.track).findings
    unused = [recording.points.file.name] if recording.points is not None and options.no_3d_data else []
    named = options.calibration is not None
    for finding in refuse_broken(recording.name, findings, cameras_were_named=named, ignored=unused):
        print(f"{recording.name}: {finding}", flush=True)


def _tell(done: Preprocessed) -> None:
    reasons = list(dict.fromkeys(reason for counts in done.counts.values() for reason in counts))
    sessions = list(done.counts)
    rows = [(reason, [done.counts[name].get(reason, 0) for name in sessions]) for reason in reasons]
    print(table(["", *sessions], [[reason, *map(str, row)] for reason, row in rows if any(row)]))
    views = ", ".join(f"{count} of {number} views" for number, count in done.num_views.items())
    there = "was there already: " if done.was_there else ""
    print(f"{there}{done.path}: {done.num_samples} samples, {views}")


def _parser() -> ArgumentParser:
    from refkp.systems.multiview.preprocessing.spec import PreprocessSpec

    command = parser(_COMMAND, preprocess.__doc__, example=_EXAMPLE)
    add_sessions(command)
    add = command.add_argument
    add("samples", type=Path, metavar="OUT.h5", help="file to write")
    command.add_class_arguments(PreprocessSpec, nested_key=None, instantiate=False, skip={*_FLAGS})
    lens = "show pictures and labels without the distortion of the lens"
    add("--undistort", action=argparse.BooleanOptionalAction, default=True, help=lens)
    add("--no_3d_data", action="store_true", help="leave the session's points in space out")
    add("--soft_visibility", action="store_true", help="the visibility of a label is its score")
    add("--fresh", action="store_true", help="begin again; a file that is there is put aside")
    add_workers(command, "processes that make samples")
    return command
