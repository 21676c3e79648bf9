"""The files of the project, for tests that look at the tree itself."""

from __future__ import annotations

import ast
import functools
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "refkp"
_GENERATED = {"build", "dist", "runs", "refkp_demo"}


def files(*suffixes: str, under: Path = ROOT) -> list[Path]:
    """The project's own files with one of `suffixes`, sorted: those git knows or would add."""
    return [path for path in _all_files() if path.suffix in suffixes and path.is_relative_to(under)]


@functools.cache
def _all_files() -> list[Path]:
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = (
        subprocess.run(command, capture_output=True, text=True, check=False)
        if (ROOT / ".git").exists()
        else None
    )
    names = listing.stdout.splitlines() if listing and listing.returncode == 0 else _walk()
    return sorted(path for name in names if (path := ROOT / name).is_file())


def _walk() -> Iterator[str]:
    """The files of an unpacked sdist, where there is no git."""
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        if parts[0] not in _GENERATED and not any(part.startswith(".") for part in parts):
            yield str(path.relative_to(ROOT))


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a Python file."""
    return ast.parse(path.read_text(), str(path))


def module_name(path: Path) -> str:
    """The dotted name of a file of the package, e.g. refkp.ops.affine_warp.reference."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())
