"""A test or benchmark that needs an optional package is skipped where the package is missing: it says so before it
imports anything that does, so that collecting the tests never fails."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.structure.tree import PACKAGE, ROOT, files, parsed

#: What every environment of the tests has.
ALWAYS_THERE = {*sys.stdlib_module_names, "torch", "numpy", "pytest", "_pytest"}
FOLDERS = {"refkp": PACKAGE, "tests": ROOT / "tests", "bench": ROOT / "bench", "scripts": ROOT / "scripts"}
COLLECTED = [
    path
    for folder in ("tests", "bench")
    for path in files(".py", under=ROOT / folder)
    if path.stem.startswith("test_") or path.stem == "conftest"
]


class Event(NamedTuple):
    """An import, or a guard: what skips or leaves out the code after it where a package is missing."""

    line: int
    is_guard: bool
    name: str  # of the module


def events(statements: Iterable[ast.stmt]) -> Iterator[Event]:
    """Imports and guards in the order in which they run; what a function does when it is called is left out."""
    for statement in statements:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            continue
        if isinstance(statement, ast.Try) and "ImportError" in map(_handled, statement.handlers):
            continue
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (Event(statement.lineno, False, name) for name in _imported(statement))
        yield from _guards(statement)
        for block in ("body", "orelse", "finalbody"):
            yield from events(getattr(statement, block, []))


def _handled(handler: ast.ExceptHandler) -> str:
    return "" if handler.type is None else ast.unparse(handler.type)


def _imported(statement: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    module = statement.module or ""
    return [module, *(f"{module}.{alias.name}" for alias in statement.names)]


def _guards(statement: ast.stmt) -> Iterator[Event]:
    """importorskip("x"), and find_spec("x") in a condition, outside of nested blocks."""
    inner = (ast.stmt, ast.ExceptHandler)
    queue = [child for child in ast.iter_child_nodes(statement) if not isinstance(child, inner)]
    for node in (part for child in queue for part in ast.walk(child)):
        called = ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""
        if called in ("importorskip", "find_spec") and isinstance(node.args[0], ast.Constant):
            yield Event(statement.lineno, True, str(node.args[0].value))


def chain(module: str) -> list[str]:
    """The modules of this project that importing `module` loads: its parents, then itself."""
    first, *rest = module.split(".")
    names = [".".join((first, *rest[:count])) for count in range(len(rest) + 1)] if first in FOLDERS else []
    return [name for name in names if name in project()]


@functools.cache
def project() -> dict[str, list[Event]]:
    """The imports and guards of every module of this project."""
    found = {}
    for first, folder in FOLDERS.items():
        for path in files(".py", under=folder):
            parts = (first, *path.relative_to(folder).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = list(events(parsed(path).body))
    return found


@functools.cache
def project_needs() -> dict[str, set[str]]:
    """The optional packages without which each module of this project cannot be imported."""
    needed: dict[str, set[str]] = {name: set() for name in project()}
    changed = True
    while changed:
        changed = False
        for name, found in project().items():
            more = {package for _, package in unguarded(found, needed)} - needed[name]
            needed[name] |= more
            changed = changed or bool(more)
    return needed


def unguarded(
    found: Iterable[Event], needed: dict[str, set[str]], guarded: Iterable[str] = ()
) -> Iterator[tuple[int, str]]:
    """(line, package) of the imports that need a package without a guard before them."""
    safe = {*guarded, *ALWAYS_THERE}
    for event in found:
        package = event.name.partition(".")[0]
        if event.is_guard:
            safe.add(package)
            continue
        needs = set().union(*(needed[name] for name in chain(event.name)))
        yield from ((event.line, need) for need in (needs if package in FOLDERS else {package}) - safe)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("path", COLLECTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_needs_an_optional_package_says_so_first(path: Path) -> None:
    at_import = list(events(parsed(path).body))
    guards = [event for event in at_import if event.is_guard]
    found = set(unguarded(at_import, project_needs()))
    for function in functions(parsed(path)):
        safe = [event.name.partition(".")[0] for event in guards]
        found |= set(unguarded(events(function.body), project_needs(), safe))
    told = ", ".join(f"{package} (line {line})" for line, package in sorted(found))
    assert not found, f'{path.name} needs pytest.importorskip("...") before it imports {told}'


@pytest.mark.parametrize(
    "path",
    [path for path in COLLECTED if path.stem == "conftest"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_conftest_skips_in_its_fixtures(path: Path) -> None:
    """It is loaded for its whole folder: a skip while it loads stops pytest."""
    loaded = [statement for statement in parsed(path).body if not isinstance(statement, ast.FunctionDef)]
    assert not any("importorskip" in ast.unparse(statement) for statement in loaded)


def test_the_check_sees_what_it_should() -> None:
    source = """
import trimesh
import importlib.util
pytest.importorskip("cv2.aruco", reason="...")
import cv2
if importlib.util.find_spec("yaml") is not None:
    import yaml
try:
    import scipy
except ImportError:
    scipy = None
with names():
    from matplotlib import pyplot
    from refkp.systems.panorama.training import module
def late():
    import sleap_io
"""
    found = {package for _, package in unguarded(events(ast.parse(source).body), project_needs())}
    assert {"trimesh", "matplotlib", "lightning"} <= found
    assert not found & {"cv2", "yaml", "scipy", "sleap_io"}
    assert not project_needs()["refkp.ops.e2p"]
