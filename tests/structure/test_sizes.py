"""Small files, short functions."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.tree import PACKAGE, ROOT, files, parsed

MAX_FILE_LINES = 400
MEDIAN_FUNCTION_LINES = 20
MAX_FUNCTION_LINES = 40


@pytest.mark.parametrize("suffix", [".py", ".cpp", ".cu", ".cuh", ".h", ".md", ".toml", ".sh"])
def test_no_file_is_long(suffix: str) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files(suffix)}
    long = {name: length for name, length in lengths.items() if length > MAX_FILE_LINES}
    assert not long, f"longer than {MAX_FILE_LINES} lines: {long}"


def function_lengths(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function, without its docstring and those of functions inside it."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield (
                f"{path.relative_to(ROOT)}:{node.name}",
                node.end_lineno - node.lineno + 1 - _docstring_lines(node),
            )


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def test_functions_are_short() -> None:
    lengths = dict(pair for path in files(".py", under=PACKAGE) for pair in function_lengths(path))
    long = {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES}
    assert not long, f"longer than {MAX_FUNCTION_LINES} lines: {long}"
    assert statistics.median(lengths.values()) <= MEDIAN_FUNCTION_LINES
