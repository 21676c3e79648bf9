"""The tables "Names of the original" of the guides: every name on our side is there, in Python or as an option."""

from __future__ import annotations

import functools
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.structure.tree import ROOT

TITLE = "## Names of the original"
SYSTEMS = ("pose", "panorama")


def rows(system: str) -> Iterator[tuple[str, str]]:
    """The first two cells of each row: the original's names and ours."""
    section = (ROOT / "docs" / f"{system}.md").read_text().split(TITLE)[1].split("\n## ")[0]
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[0] not in ("original", "---"):
            yield cells[0], cells[1]


def names(system: str) -> list[str]:
    return [name for _, ours in rows(system) for name in re.findall(r"`([^`]+)`", ours)]


@functools.cache
def options(command: str) -> frozenset[str]:
    """The options of a command, from its help."""
    pytest.importorskip("lightning", reason="needs the extra `train`")
    pytest.importorskip("jsonargparse", reason="needs the extra `train`")
    call = [sys.executable, "-m", "refkp", *command.split(), "--help"]
    text = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    return frozenset(re.findall(r"--[\w.-]*\w", text))


def found(path: str, system: str) -> bool:
    """Whether a dotted Python name exists: a module, what stands in it, a member or field of a class."""
    full = path if path.startswith("refkp") else f"refkp.systems.{system}.{path}"
    parts = full.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            if error.name is None or not full.startswith(error.name):
                pytest.skip(f"needs {error.name}")
            continue
        return _has(thing, parts[length:])
    return False


def _has(thing: object, path: list[str]) -> bool:
    for name in path:
        fields = {} if isinstance(thing, ModuleType) else getattr(thing, "__dataclass_fields__", {})
        if name in fields:
            return name == path[-1]
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True


@pytest.mark.parametrize(
    ("system", "name"), [(s, name) for s in SYSTEMS for name in names(s) if "--" not in name]
)
def test_python_names_exist(system: str, name: str) -> None:
    assert found(name, system)


@pytest.mark.parametrize(
    ("system", "name"), [(s, name) for s in SYSTEMS for name in names(s) if "--" in name]
)
def test_options_exist(system: str, name: str) -> None:
    command, option = name.rsplit(" ", 1) if " " in name else (f"refkp train {system}", name)
    assert option in options(command.removeprefix("refkp "))


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_row_names_something_on_both_sides(system: str) -> None:
    table = list(rows(system))
    assert len(table) > 30
    assert all("`" in ours for _, ours in table)
    assert len({original for original, _ in table}) == len(table)


@pytest.mark.parametrize(
    "name", ["model.vlm.PanoramaVLMs", "views.spec.CropSpec.strategies", "nowhere.Thing"]
)
def test_a_name_that_is_not_there_is_noticed(name: str) -> None:
    assert not found(name, "panorama")
