"""What every command shares: its parser, where it runs, its run and files, its tables.

Nothing here imports torch before a device is chosen, so that `--help` does not wait for it. For the same reason a
spec that a command takes stands in a module without torch and without a block for type checkers, which the parser
would run to resolve its annotations.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from refkp._checks import fail
from refkp._extras import named_extras

if TYPE_CHECKING:
    import jsonargparse
    import torch

DEVICES = ("auto", "cpu", "cuda")

_UNBROKEN = "\u00a0"  # a space at which no line is broken

#: What a cell of a table may hold: text as it is, numbers to four digits, "-" for None.
Cell = str | float | None


def parser(prog: str, description: str | None, *, example: str) -> jsonargparse.ArgumentParser:
    """The parser of a command with typed options and nested specs; its help ends with `example`, which runs."""
    with named_extras():
        from jsonargparse import ArgumentParser

    return ArgumentParser(
        prog=prog, description=description, epilog=_epilog(example), formatter_class=help_formatter()
    )


def help_formatter() -> type[argparse.HelpFormatter]:
    """How help is laid out: examples stay on lines of their own, and an option of a list shows how it is written."""
    with named_extras():
        from jsonargparse import DefaultHelpFormatter

    class Formatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):
        def _get_help_string(self, action: argparse.Action) -> str:
            text: str = super()._get_help_string(action) or ""
            if not _is_list(action):
                return text
            values = json.dumps(action.default).replace(" ", _UNBROKEN)
            return f"{text}, as {action.option_strings[0]} '{values}'"

        def format_help(self) -> str:
            return super().format_help().replace(_UNBROKEN, " ")

    return Formatter


def _is_list(action: argparse.Action) -> bool:
    """Whether an option takes one list, which has a default."""
    kind = get_origin(getattr(action, "_typehint", None))
    return kind in (tuple, list) and action.nargs is None and bool(action.default and action.option_strings)


def parsed(parser: jsonargparse.ArgumentParser, argv: Sequence[str]) -> Any:
    """The options of a command line, with their specs built.

    Raises:
        ValueError: see `require_output`.
    """
    options = parser.instantiate(parser.parse_args(argv))
    require_output(parser.prog, options)
    return options


def plain_parser(prog: str, description: str | None, *, example: str) -> argparse.ArgumentParser:
    """The same for the commands that an installation without extras has."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=_epilog(example),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _epilog(example: str) -> str:
    return "example:\n" + "\n".join(f"  {line}" for line in example.splitlines())


def add_run(parser: argparse.ArgumentParser, system: str, *, required: bool = True) -> None:
    """Add `--run`: a trained run."""
    text = f"folder of `refkp train {system}`, or a checkpoint in it"
    parser.add_argument("--run", type=Path, required=required, metavar="RUN", help=text)


def add_out(parser: argparse.ArgumentParser, holds: str, default: str | None = None) -> None:
    """Add `--out`: the folder of what the command writes; required unless it has a default."""
    parser.add_argument(
        "--out",
        type=Path,
        required=default is None,
        default=None if default is None else Path(default),
        metavar="DIR",
        help=f"folder for {holds}",
    )


def add_workers(parser: argparse.ArgumentParser, does: str) -> None:
    """Add `--workers`: how many threads or processes do something at a time; all cores by default."""
    text = f"{does}; default: one for each core"
    parser.add_argument("--workers", type=int, default=available_cores(), metavar="N", help=text)


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`: where the command computes."""
    parser.add_argument(
        "--device", choices=DEVICES, default="auto", help="auto: CUDA where there is a GPU, else the CPU"
    )


def chosen_device(option: str) -> torch.device:
    """The device that `--device` asks for; says on the console what runs on what.

    Raises:
        ValueError: "cuda" without a GPU that torch can use.
    """
    import torch

    available = torch.cuda.is_available()
    if option == "cuda" and not available:
        remedy = "Use --device cpu or auto; `refkp info` lists the devices."
        fail("refkp", "device", "one that torch can use here", "'cuda' without a GPU", remedy)
    kind = option if option != "auto" else "cuda" if available else "cpu"
    device = torch.device(kind)
    print(device_line(device), flush=True)
    return device


def device_line(device: torch.device, precision: str = "float32") -> str:
    """What runs on what, in one line.

    >>> import torch
    >>> device_line(torch.device("cpu")) == f"cpu, {torch.get_num_threads()} threads, float32"
    True
    """
    import torch

    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}, {precision}"
    return f"{device}, {torch.get_num_threads()} threads, {precision}"


def require_counts(command: str, options: Any, *names: str, least: int = 1) -> None:
    """Raise ValueError unless each named option is at least `least`; one that is None was not given."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < least:
            fail(command, name, f"at least {least}", value)


def require_output(command: str, options: Any) -> None:
    """Raise ValueError unless what `--out` and `--json` name can be written, so that it is told before the work."""
    out, file = getattr(options, "out", None), getattr(options, "json", None)
    if out is not None:
        _require_folder(command, "out", out)
    if file is not None:
        require_file(command, "json", file)


def require_file(command: str, option: str, path: Path) -> None:
    """Raise ValueError unless the file `path` can be written."""
    if path.is_dir():
        fail(command, option, "the name of a file", f"the folder {str(path)!r}", "Name a file in it.")
    _require_folder(command, option, path.parent, "in ")


def _require_folder(command: str, option: str, path: Path, place: str = "") -> None:
    """Raise ValueError unless `path` is a folder that can be written, or can become one."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        remedy = "Give the name of a folder, there or to be made."
        fail(command, option, f"{place}a folder", f"the file {str(there)!r}", remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = "Give another, or change its permissions."
        fail(command, option, f"{place}a place to write", f"{str(there)!r}, which you may not write", remedy)


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Where to write what is to lie in `path`: it moves there when the block ends, and not at all if it fails.

    Entries of the same names are replaced, folders among them as a whole. Other files stay, for the folder may be
    the user's own.
    """
    is_new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=path, prefix=".unfinished_") as unfinished:
            yield Path(unfinished)
            for entry in sorted(Path(unfinished).iterdir()):
                if (path / entry.name).is_dir():
                    shutil.rmtree(path / entry.name)
                entry.replace(path / entry.name)
    except BaseException:
        if is_new:
            shutil.rmtree(path)
        raise


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Rows under their headings, as text: numbers to the right, words to the left.

    >>> print(table(["loss", "retrieval"], [["true", 0.52344], ["strips", None]]))
    loss    retrieval
    true       0.5234
    strips          -
    """
    lines = [list(columns), *([_text(cell) for cell in row] for row in rows)]
    texts = []
    for cells in zip(*lines, strict=True):
        width = max(map(len, cells))
        to_right = _are_numbers(cells[1:])
        texts.append([cell.rjust(width) if to_right else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*texts, strict=True))


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether all that is known starts as numbers do; units may follow."""
    known = [cell for cell in cells if cell not in ("", "-")]
    return bool(known) and all(cell.lstrip("+-.")[:1].isdigit() or cell in ("nan", "inf") for cell in known)
