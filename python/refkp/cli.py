"""The `refkp` command: tables from names to modules, which are imported only when they are called."""

from __future__ import annotations

import difflib
import errno
import importlib
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from refkp import __version__
from refkp._extras import missing_message
from refkp.systems import SYSTEMS, built_systems, trained_systems

#: Command -> the module whose `main(argv)` runs it, and what it does.
COMMANDS = {
    "info": ("refkp.info", "versions, build, devices, and which backend of which op runs here"),
    "demo": ("refkp.demo", "the main job end to end on a small input, with an HTML report"),
    "verify": ("refkp.verify.command", "compare every case of a folder of golden values"),
    "bench": ("refkp.bench", "measure the ops and systems against their peers in one run"),
}

USAGE_ERROR = 2

#: What to do about an error of the system.
_REMEDIES = {
    errno.ENOSPC: "Free some, or give an `--out` on another disk; nothing half-written is left.",
    errno.EDQUOT: "Free some, or give an `--out` on another disk; nothing half-written is left.",
    errno.EEXIST: "It is a file; give the name of a folder, there or to be made.",
    errno.ENOTDIR: "A part of it is a file; give the name of a folder, there or to be made.",
    errno.EACCES: "Give a place that you may read and write.",
    errno.EROFS: "Give a place that you may write.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a result that failed, 2 for a wrong call."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        with _one_line_warnings():
            return _dispatch(arguments) or 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        message = users_error(error)
        if message is None:
            raise
        print(f"refkp: {message}", file=sys.stderr)
        return USAGE_ERROR


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Warnings as users read them, without a line of our code."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"refkp: warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


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
    if command in built_systems():
        return _verb(command, rest)
    return _unknown("command", command, [*COMMANDS, "train", *built_systems()], usage())


def _train(rest: list[str]) -> int | None:
    systems = trained_systems()
    help_text = _listing(
        f"refkp train {{{','.join(systems)}}} ...",
        {name: SYSTEMS[name] for name in systems},
        "refkp train SYSTEM",
    )
    if rest[:1] in (["-h"], ["--help"]):
        print(help_text)
        return 0
    if not rest or rest[0] not in systems:
        _unknown("system", rest[0] if rest else "", systems, help_text)
    return _run(rest[0], "train", rest[1:])


def _verb(system: str, rest: list[str]) -> int | None:
    verbs: Mapping[str, tuple[str, str]] = importlib.import_module(f"refkp.systems.{system}.commands").VERBS
    lines = {name: line for name, (_, line) in verbs.items()}
    help_text = _listing(f"refkp {system} {{{','.join(verbs)}}} ...", lines, f"refkp {system} VERB")
    if rest[:1] in (["-h"], ["--help"]):
        print(help_text)
        return 0
    if not rest or rest[0] not in verbs:
        _unknown(f"verb of {system}", rest[0] if rest else "", verbs, help_text)
    return _run(system, verbs[rest[0]][0], rest[1:])


def _run(system: str, file: str, argv: list[str]) -> int | None:
    """Call the function of a verb, which has the name of its file."""
    module = importlib.import_module(f"refkp.systems.{system}.commands.{file}")
    return getattr(module, file)(argv)


def usage() -> str:
    """The text of `refkp --help`."""
    lines = {name: text for name, (_, text) in COMMANDS.items()}
    lines["train"] = f"train a system: {', '.join(trained_systems())}"
    lines |= {system: f"the tools for {SYSTEMS[system]}" for system in built_systems()}
    return _listing("refkp COMMAND ...", lines, "refkp COMMAND") + "\n`refkp --version` tells the version."


def _listing(call: str, lines: Mapping[str, str], more: str) -> str:
    width = max(map(len, lines))
    rows = (f"  {name:{width}}  {text}" for name, text in lines.items())
    return "\n".join((f"usage: {call}", "", *rows, "", f"`{more} --help` tells more."))


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

    Ours are: a package of an extra that is missing, a file that cannot be opened or written, and the ValueError,
    NotImplementedError or ImportError that refkp itself raised. From a library below they are unexpected.
    """
    if isinstance(error, ModuleNotFoundError) and error.name and (message := missing_message(error.name)):
        return message
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _REMEDIES):
        place = f"{error.filename}: " if error.filename is not None else ""
        remedy = _REMEDIES.get(error.errno or 0)
        return f"{place}{error.strerror}" + (f". {remedy}" if remedy else "")
    ours = isinstance(error, (ValueError, NotImplementedError, ImportError, FileNotFoundError))
    foreign = isinstance(error, ModuleNotFoundError) or not _raised_here(error)
    return str(error) if ours and not foreign else None


def _raised_here(error: Exception) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).is_relative_to(Path(__file__).parent)
