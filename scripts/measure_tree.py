"""Measure a checkout: lines of what trains and commands, places that are written twice, sizes of functions and files.

    python scripts/measure_tree.py [ROOT] [--json FILE] [--pairs]

Lines of code are what is left without blank lines, comments, docstrings and imports. Two places share lines if six or
more lines of code in a row agree: `identical` letter by letter but for indentation, `renamed` if names, numbers and
texts may differ, each name by the same one throughout the six lines (keywords and punctuation agree); six lines of
fewer than four forms are a list, as fields or arguments one a line, and are no renamed code. What agrees over more than
six lines is one pair, and a place that stands three times is three pairs. Lines without a letter or digit, as closing
brackets, are passed over. Only the standard library is needed, so that any earlier commit can be measured.
"""

from __future__ import annotations

import argparse
import ast
import io
import itertools
import json
import keyword
import statistics
import sys
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

WINDOW = 6
FORMS = 4
_SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
_SKIPPED |= {tokenize.ENDMARKER, tokenize.ENCODING}


class Line(NamedTuple):
    """A line of code as its tokens."""

    number: int
    tokens: tuple[tuple[int, str], ...]  # kind and text


class Place(NamedTuple):
    """Where a run of lines of code begins: a file and an index into its lines of code."""

    file: str
    index: int


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1], help="a checkout")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--pairs", action="store_true", help="list the places that share lines")
    options = parser.parse_args(arguments)
    package = options.root / "python" / "refkp"
    if not package.is_dir():
        parser.error(f"{options.root} is no checkout: it has no folder python/refkp")
    code = {str(path.relative_to(package)): code_lines(path) for path in sorted(package.rglob("*.py"))}
    pairs = {"identical": shared(code, _identical), "renamed": shared(code, _renamed)}
    numbers = measure(package, code, {name: len(found) for name, found in pairs.items()})
    print(table(numbers))
    if options.pairs:
        print(*listing(code, pairs), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(numbers, indent=2) + "\n")
    return 0


def measure(package: Path, code: dict[str, list[Line]], pairs: dict[str, int]) -> dict[str, Any]:
    """All numbers, by name."""
    parts = {name: _sizes(package, code, paths) for name, paths in _parts(package, code).items()}
    functions = [length for path in sorted(package.rglob("*.py")) for length in function_lengths(path)]
    lengths = {name: len((package / name).read_text(encoding="utf-8").splitlines()) for name in code}
    return {
        "parts": parts,
        "pairs": pairs,
        "functions": _extremes(functions),
        "files": _extremes([(lines, name) for name, lines in lengths.items() if lines]),
    }


def _parts(package: Path, code: dict[str, list[Line]]) -> dict[str, list[str]]:
    """What trains and commands -> its files; `commands` also where it is one file."""

    def under(*prefixes: str) -> list[str]:
        wanted = tuple(f"{prefix}{end}" for prefix in prefixes for end in ("/", ".py"))
        return [name for name in code if name.startswith(wanted)]

    systems = sorted(path.parent.name for path in package.glob("systems/*/__init__.py"))
    parts = {"training": under("training"), "commands": under("commands", "cli")}
    for system in systems:
        for part in ("training", "commands"):
            parts[f"systems/{system}/{part}"] = under(f"systems/{system}/{part}")
    parts["sum of these"] = sorted({name for names in parts.values() for name in names})
    return parts | {"refkp": list(code)}


def _sizes(package: Path, code: dict[str, list[Line]], names: list[str]) -> dict[str, int]:
    lines = sum(len((package / name).read_text(encoding="utf-8").splitlines()) for name in names)
    return {"files": len(names), "lines": lines, "code": sum(len(code[name]) for name in names)}


def _extremes(lengths: list[tuple[int, str]]) -> dict[str, Any]:
    longest = max(lengths)
    median = statistics.median(length for length, _ in lengths)
    return {"number": len(lengths), "median": median, "largest": longest[0], "largest_is": longest[1]}


def function_lengths(path: Path) -> Iterator[tuple[int, str]]:
    """(lines, name) of every function, without its docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = len(_docstring_lines(node))
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - docstring
            yield lines, f"{path.parent.name}/{path.name}:{node.name}"


def code_lines(path: Path) -> list[Line]:
    """The lines of code of a file, as the docstring of this script tells."""
    text = path.read_text(encoding="utf-8")
    passed: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            passed |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            passed |= _docstring_lines(node)
    tokens: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _SKIPPED and token.start[0] not in passed:
            tokens[token.start[0]].append((token.type, token.string))
    told = {number: line for number, line in tokens.items() if any(c.isalnum() for _, s in line for c in s)}
    return [Line(number, tuple(line)) for number, line in sorted(told.items())]


def _docstring_lines(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    if ast.get_docstring(node, clean=False) is None:
        return set()
    return set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))


def _identical(lines: Sequence[Line]) -> tuple[str, ...] | None:
    return tuple(" ".join(text for _, text in line.tokens) for line in lines)


def _renamed(lines: Sequence[Line]) -> tuple[str, ...] | None:
    """Names by the order in which they first stand here; numbers and texts by their kind. None for a list."""
    if len({_form(line) for line in lines}) < FORMS:
        return None
    order: dict[str, str] = {}

    def ordered(kind: int, text: str) -> str:
        return order.setdefault(text, f"n{len(order)}") if _is_name(kind, text) else _of_kind(kind, text)

    return tuple(" ".join(ordered(*token) for token in line.tokens) for line in lines)


def _form(line: Line) -> str:
    """A line with every name alike, every number and every text."""
    return " ".join("NAME" if _is_name(*token) else _of_kind(*token) for token in line.tokens)


def _is_name(kind: int, text: str) -> bool:
    return kind == tokenize.NAME and not keyword.iskeyword(text)


def _of_kind(kind: int, text: str) -> str:
    return tokenize.tok_name[kind] if kind in (tokenize.NUMBER, tokenize.STRING) else text


def shared(
    code: dict[str, list[Line]], key: Callable[[Sequence[Line]], tuple[str, ...] | None]
) -> list[tuple[Place, Place, int]]:
    """Pairs of places that agree under `key` over a window, and the windows in a row that do."""
    places: dict[tuple[str, ...], list[Place]] = defaultdict(list)
    for file, lines in code.items():
        for index in range(len(lines) - WINDOW + 1):
            agreed = key(lines[index : index + WINDOW])
            if agreed is not None:
                places[agreed].append(Place(file, index))
    agreeing = {
        (a, b)
        for found in places.values()
        for a, b in itertools.combinations(found, 2)
        if a.file != b.file or b.index - a.index >= WINDOW
    }
    starts = sorted((a, b) for a, b in agreeing if (_moved(a, -1), _moved(b, -1)) not in agreeing)
    return [(a, b, _windows(a, b, agreeing)) for a, b in starts]


def _windows(a: Place, b: Place, agreeing: set[tuple[Place, Place]]) -> int:
    return next(n for n in itertools.count(1) if (_moved(a, n), _moved(b, n)) not in agreeing)


def _moved(place: Place, by: int) -> Place:
    return place._replace(index=place.index + by)


def table(numbers: dict[str, Any]) -> str:
    rows = [f"{'':34}{'files':>8}{'lines':>8}{'code':>8}"]
    rows += [
        f"{name:34}{size['files']:8}{size['lines']:8}{size['code']:8}"
        for name, size in numbers["parts"].items()
    ]
    rows.append("")
    rows += [f"pairs of places that share {WINDOW} lines, {k:11}{v:5}" for k, v in numbers["pairs"].items()]
    for name in ("functions", "files"):
        told = numbers[name]
        largest = f"largest {told['largest']} ({told['largest_is']})"
        rows.append(f"{name}: {told['number']}, median {told['median']:g} lines, {largest}")
    return "\n".join(rows)


def listing(code: dict[str, list[Line]], pairs: dict[str, list[tuple[Place, Place, int]]]) -> Iterator[str]:
    """One line a pair, the longest first."""
    for kind, found in pairs.items():
        for a, b, windows in sorted(found, key=lambda pair: -pair[2]):
            at = " and ".join(f"{place.file}:{code[place.file][place.index].number}" for place in (a, b))
            yield f"{kind}: {windows + WINDOW - 1} lines, {at}"


if __name__ == "__main__":
    sys.exit(main())
