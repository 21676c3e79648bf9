"""What a reader may make of a broken file: a result, or one clear error, and no file left behind."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.readers.mutations import broken
from tests.fuzz.seeds import each_seed


def check_reader(kind: str, folder: Path, read: Callable[[], object], names: tuple[str, ...]) -> None:
    """Break one of the files `names` of a folder after another, and `read`.

    Raises:
        AssertionError: an error that is no ValueError, that does not name the file, or a file left behind.
    """
    good = {name: (folder / name).read_bytes() for name in names}
    before = files_of(folder)

    def one(rng: random.Random) -> None:
        name = rng.choice(names)
        path = folder / name
        path.write_bytes(broken(rng, path.suffix, good[name]))
        try:
            judge(read, path)
        finally:
            path.write_bytes(good[name])
        assert files_of(folder) == before, "a file is left behind"

    each_seed(kind, one)
    read()  # the good files still are


def judge(read: Callable[[], object], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error = _error_of(read)
    if error is None:
        return
    text = str(error)
    assert type(error) is ValueError, f"{type(error).__name__} of a library: {text}"
    named = any(part in text for part in (path.name, path.stem, path.parent.name))
    assert named, f"no file named: {text}"
    assert text.rstrip().endswith((".", "`", ")", "]", "'")), f"no sentence: {text}"


def _error_of(read: Callable[[], object]) -> ValueError | None:
    try:
        read()
    except ValueError as error:
        return error
    return None


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}
