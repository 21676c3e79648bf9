"""The table of optional packages and pyproject.toml tell the same."""

from __future__ import annotations

import re

import refkp
from refkp._extras import EXTRAS
from tests.structure.tree import pyproject

IMPORT_NAMES = {"pillow": "PIL", "opencv-python-headless": "cv2", "pytest-benchmark": "pytest_benchmark"}
DECLARED: dict[str, list[str]] = pyproject()["project"]["optional-dependencies"]


def packages(extra: str) -> set[str]:
    """The import names of an extra, with those of the extras that it includes."""
    names: set[str] = set()
    for requirement in DECLARED[extra]:
        name = re.match(r"[\w-]+", requirement)[0]  # type: ignore[index]
        inner = re.match(r"refkp\[([\w,]+)\]", requirement)
        names |= set().union(*map(packages, inner[1].split(","))) if inner else {IMPORT_NAMES.get(name, name)}
    return names


def test_the_table_is_that_of_pyproject() -> None:
    assert {extra: set(names) for extra, names in EXTRAS.items()} == {
        extra: packages(extra) for extra in DECLARED if extra != "all"
    }


def test_all_is_complete() -> None:
    assert packages("all") == set().union(
        *(packages(extra) for extra in DECLARED if extra not in ("all", "dev"))
    )


def test_the_version_is_written_once_more_and_equal() -> None:
    assert pyproject()["project"]["version"] == refkp.__version__
