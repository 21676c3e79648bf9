"""Files and folders that are there whole or not at all: a reader, or an interruption, never sees half of one.

And folders as people have them: their hidden files are not seen, and equal files under two names are found.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
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
    path = Path(path).resolve()  # "." has no name to put another beside
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


def visible_files(folder: Path | str) -> list[Path]:
    """The files in a folder and its subfolders, sorted, without hidden ones and what lies in hidden folders.

    Such are the `._x.jpg` that some systems leave beside `x.jpg`, and `.ipynb_checkpoints`.
    """
    folder = Path(folder)
    return sorted(
        path
        for path in folder.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file()
    )


def equal_files(some: Iterable[Path], others: Iterable[Path]) -> list[tuple[Path, Path]]:
    """The files of `some` that have the content of one of `others`, each with it; files of one size alone are read."""
    of_size: dict[int, list[Path]] = {}
    for path in dict.fromkeys(others):
        of_size.setdefault(path.stat().st_size, []).append(path)
    read = functools.cache(_digest)
    return [
        (path, twin)
        for path in dict.fromkeys(some)
        for twin in of_size.get(path.stat().st_size, ())
        if path == twin or read(path) == read(twin)
    ]


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _unfinished_name(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
