"""The systems have the same parts in the same places, in one order of imports."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

from tests.structure.test_layers import imports
from tests.structure.tree import PACKAGE, ROOT, files, module_name, parsed

SYSTEMS = sorted(path.parent.name for path in (PACKAGE / "systems").glob("*/__init__.py"))

#: The parts of every system in the order of imports. Before them come those of a system's own: what travels between
#: the parts, and what it adds to pictures and files.
PARTS = ("data", "model", "losses", "metrics", "pictures", "training", "inference", "commands")

#: The files that a reader of one system looks for in another.
FILES = (
    *(
        "data/datamodule.py",
        "losses/objective.py",
        "training/__init__.py",
        "training/module.py",
    ),
    *(
        "training/configs/tiny.yaml",
        "training/configs/base.yaml",
        "commands/__init__.py",
        "commands/train.py",
    ),
)


def part_of(module: str) -> tuple[str, str] | None:
    """(system, part) of a module inside a system."""
    names = module.split(".")
    return (names[2], names[3]) if module.startswith("refkp.systems.") and len(names) > 3 else None


def modules(system: str) -> list[Path]:
    return files(".py", under=PACKAGE / "systems" / system)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_has_every_part(system: str) -> None:
    folder = PACKAGE / "systems" / system
    wanted = [folder / part for part in PARTS if part != "pictures"] + [folder / name for name in FILES]
    wanted.append(folder / ("pictures" if (folder / "pictures").is_dir() else "pictures.py"))
    wanted += [ROOT / "tests" / "systems" / system, PACKAGE / "verify" / system]
    wanted += [ROOT / "bench" / f"test_bench_{system}.py", ROOT / "docs" / f"{system}.md"]
    missing = [str(path.relative_to(ROOT)) for path in wanted if not path.exists()]
    assert not missing, f"{system} lacks {', '.join(missing)}"


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_parts_of_a_system_import_in_one_order(system: str) -> None:
    own: dict[str, set[str]] = {}
    for path in modules(system):
        here = part_of(module_name(path))
        for line, target in imports(path):
            there = part_of(target)
            if here is None or there is None or there == here:
                continue
            if there[1] not in PARTS:
                own.setdefault(here[1], set()).add(there[1])
                continue
            goes_down = here[1] in PARTS and PARTS.index(there[1]) < PARTS.index(here[1])
            message = f"{path}:{line}: {here[1]} imports {there[1]}, which is not before it"
            assert goes_down, message
    graphlib.TopologicalSorter(own).prepare()  # raises where a system's own parts import in a circle


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_module_of_a_system_trains_as_all_do(system: str) -> None:
    classes = [node for node in parsed(PACKAGE / "systems" / system / "training" / "module.py").body
               if isinstance(node, ast.ClassDef)]  # fmt: skip
    bases = {ast.unparse(base).partition("[")[0] for node in classes for base in node.bases}
    assert "SystemModule" in bases, f"{system} has no SystemModule"
    methods = {part.name for node in classes for part in node.body if isinstance(part, ast.FunctionDef)}
    assert {"forward", "groups", "held_out_values", "specs"} <= methods


def test_presets_stand_in_one_place() -> None:
    for path in files(".yaml", under=PACKAGE):
        names = path.relative_to(PACKAGE).parts
        expected = names[0] == "systems" and names[2:4] == ("training", "configs")
        assert expected, f"{path}: presets lie in systems/SYSTEM/training/configs"
