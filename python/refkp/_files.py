"""Files and folders that are there whole or not at all: a reader, or an interruption, never sees half of one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Where to write a file that becomes `path` when the block ends; if the block fails, `path` stays as it was.

    The name in between has the same ending, from which writers of pictures and arrays know the format. Missing
    folders are made.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with whole_file(f"{folder}/a/numbers.csv") as unfinished:
    ...         _ = unfinished.write_text("1,2")
    ...     Path(folder, "a", "numbers.csv").read_text()
    '1,2'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished_name(path)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """A new folder that becomes `path` when the block ends; if the block fails, nothing is left of it.

    An earlier folder `path` is replaced as a whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished_name(path)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        if path.exists():
            shutil.rmtree(path)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file in UTF-8."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: object) -> None:
    """Write plain values as indented JSON, numbers with full precision."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def put_aside(path: Path) -> Path | None:
    """Rename `path` to the next free of path_1, path_2, ...; None where there is nothing to rename."""
    if not path.exists():
        return None
    count = 1
    while (free := path.with_name(f"{path.name}_{count}")).exists():
        count += 1
    return path.rename(free)


def _unfinished_name(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
