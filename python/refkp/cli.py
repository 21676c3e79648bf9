"""The `refkp` command: one table from commands to functions, imported only when they are called."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from refkp import __version__
from refkp._extras import missing_message

Run = Callable[[list[str]], int | None]

#: Command -> the module whose `main(argv)` runs it, and what it does.
COMMANDS = {
    "info": ("refkp.info", "versions, build, devices, and which backend of which op runs here"),
    "demo": ("refkp.demo", "the main job end to end on a small input, with an HTML report"),
    "verify": ("refkp.verify", "compare every case of a folder of golden values"),
    "bench": ("refkp.bench", "measure the ops and systems against their peers in one run"),
}

#: System -> the module with its VERBS and its `train(argv)`.
SYSTEMS = {
    "pose": "refkp.systems.pose.commands",
    "panorama": "refkp.systems.panorama.commands",
}

USAGE_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a result that failed, 2 for a wrong call."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments) or 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        message = users_error(error)
        if message is None:
            raise
        print(f"refkp: {message}", file=sys.stderr)
        return USAGE_ERROR


def _dispatch(arguments: list[str]) -> int | None:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command == "--version":
        print(f"refkp {__version__}")
        return 0
    if command in COMMANDS:
        return importlib.import_module(COMMANDS[command][0]).main(rest)
    if command == "train":
        return _train(rest)
    if command in SYSTEMS:
        return _verb(command, rest)
    return _unknown("command", command, [*COMMANDS, "train", *SYSTEMS], usage())


def _train(rest: list[str]) -> int | None:
    help_text = f"usage: refkp train {{{','.join(SYSTEMS)}}} ...\n\n`refkp train SYSTEM --help` tells more."
    if rest[:1] in (["-h"], ["--help"]):
        print(help_text)
        return 0
    if not rest or rest[0] not in SYSTEMS:
        _unknown("system", rest[0] if rest else "", SYSTEMS, help_text)
    return importlib.import_module(SYSTEMS[rest[0]]).train(rest[1:])


def _verb(system: str, rest: list[str]) -> int | None:
    verbs: Mapping[str, Run] = importlib.import_module(SYSTEMS[system]).VERBS
    lines = (f"  {name:12} {(inspect.getdoc(verb) or '').split(chr(10))[0]}" for name, verb in verbs.items())
    help_text = "\n".join((f"usage: refkp {system} {{{','.join(verbs)}}} ...", "", *lines))
    if rest[:1] in (["-h"], ["--help"]):
        print(help_text)
        return 0
    if not rest or rest[0] not in verbs:
        _unknown(f"verb of {system}", rest[0] if rest else "", verbs, help_text)
    return verbs[rest[0]](rest[1:])


def usage() -> str:
    """The text of `refkp --help`."""
    lines = [f"  {name:12} {text}" for name, (_, text) in COMMANDS.items()]
    lines += [f"  {'train':12} train a system: {', '.join(SYSTEMS)}"]
    lines += [f"  {system:12} the tools of system {system}" for system in SYSTEMS]
    return "\n".join(
        ("usage: refkp COMMAND ...", "", *lines, "", "`refkp COMMAND --help` tells more; `refkp --version`.")
    )


def _unknown(kind: str, name: str, known: Iterable[str], help_text: str) -> NoReturn:
    if not name:
        print(help_text, file=sys.stderr)
        raise SystemExit(USAGE_ERROR)
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Choose one of {', '.join(known)}."
    print(f"refkp: unknown {kind} {name!r}. {hint}", file=sys.stderr)
    raise SystemExit(USAGE_ERROR)


def users_error(error: Exception) -> str | None:
    """The line to print for an error of the user's making; None for an unexpected one.

    Ours are: a package of an extra that is missing, a file that cannot be opened, and the ValueError,
    NotImplementedError or ImportError that refkp itself raised. From a library below they are unexpected.
    """
    if isinstance(error, ModuleNotFoundError) and error.name and (message := missing_message(error.name)):
        return message
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    ours = isinstance(error, (ValueError, NotImplementedError, ImportError, FileNotFoundError))
    foreign = isinstance(error, ModuleNotFoundError) or not _raised_here(error)
    return str(error) if ours and not foreign else None


def _raised_here(error: Exception) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parent)
