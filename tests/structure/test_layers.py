"""Imports go only downwards; the lower layers know nothing but torch and numpy."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.tree import PACKAGE, files, module_name, parsed

#: Module prefix -> rank. A module may import a lower rank or its own prefix, never a sibling.
RANKS = {
    "refkp._C": -1,
    "refkp._checks": 0,
    "refkp._measure": 0,
    "refkp._native": 0,
    "refkp._extras": 0,
    "refkp._files": 0,
    "refkp._progress": 1,
    "refkp.geometry": 1,
    "refkp.ops": 2,
    "refkp.nn": 3,
    "refkp.data": 3,
    "refkp.viz": 3,
    "refkp.training": 4,
    "refkp.commands": 3,
    "refkp.systems": 5,
    "refkp.peers": 6,
    "refkp.verify": 7,
    "refkp.machine": 7,
    "refkp.info": 8,
    "refkp.bench": 7,
    "refkp.demo": 8,
    "refkp.cli": 9,
    "refkp.__main__": 10,
}
CORE = (
    "refkp",
    "refkp._checks",
    "refkp._native",
    "refkp._extras",
    "refkp._files",
    "refkp.geometry",
    "refkp.ops",
)
#: The optional packages of a core module, imported in the function that needs them.
OPTIONAL = {"refkp.geometry.cameras": {"pytorch3d"}, "refkp.geometry.fov": {"pytorch3d"}}
CORE_PACKAGES = {"torch", "numpy", "refkp", *sys.stdlib_module_names}


def layer_of(module: str) -> str:
    """The prefix of RANKS that a module belongs to; each system is a layer of its own."""
    if module.startswith("refkp.systems."):
        return ".".join(module.split(".")[:3])
    return ".".join(module.split(".")[:2])


def rank_of(layer: str) -> int:
    """The package itself, `refkp`, holds the version alone and is below everything."""
    return -2 if layer == "refkp" else RANKS["refkp.systems" if layer.startswith("refkp.systems") else layer]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, also those inside functions and import_module("...") calls."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((node.lineno, target) for target in _targets(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (
                (node.lineno, str(arg.value)) for arg in node.args[:1] if isinstance(arg, ast.Constant)
            )


def _targets(node: ast.ImportFrom) -> Iterator[str]:
    """`from refkp import _native` imports refkp._native; `from refkp import __version__` only refkp."""
    assert node.module is not None
    for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        file = PACKAGE.parent / inner.replace(".", "/")
        yield inner if file.is_dir() or file.with_suffix(".py").exists() else node.module


MODULES = files(".py", under=PACKAGE)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_down(path: Path) -> None:
    here = layer_of(module_name(path))
    for line, target in imports(path):
        there = layer_of(target)
        if not target.startswith("refkp") or there == here:
            continue
        assert rank_of(there) < rank_of(here), (
            f"{path}:{line}: {here} imports {target}, which is not below it"
        )


@pytest.mark.parametrize(
    "path", [path for path in MODULES if layer_of(module_name(path)) in CORE], ids=module_name
)
def test_the_core_imports_torch_and_numpy_alone(path: Path) -> None:
    allowed = CORE_PACKAGES | OPTIONAL.get(module_name(path), set())
    allowed |= {"triton"} if path.name == "triton.py" else set()
    for line, target in imports(path):
        assert target.partition(".")[0] in allowed, f"{path}:{line}: imports {target}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "reference.py"], ids=module_name)
def test_a_reference_shares_no_code_with_the_kernels_it_judges(path: Path) -> None:
    kernels = (".native", ".triton", ".library", "._native", "._C")
    for line, target in imports(path):
        assert not target.endswith(kernels), f"{path}:{line}: imports {target}"


def test_every_module_has_a_rank() -> None:
    layers = {layer_of(module_name(path)) for path in MODULES}
    assert {layer for layer in layers if not layer.startswith(("refkp.systems",))} - {"refkp"} <= RANKS.keys()
