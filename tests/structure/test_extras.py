"""The table of optional packages and pyproject.toml tell the same."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import refkp
from refkp._extras import EXTRAS, named_extras
from tests.structure.tree import PACKAGE, files, module_name, parsed, pyproject

IMPORT_NAMES = {
    "easypytorch3d": "pytorch3d",
    "pillow": "PIL",
    "sleap-io": "sleap_io",
    "opencv-python-headless": "cv2",
    "pytest-benchmark": "pytest_benchmark",
    "pytest-xdist": "xdist",
    "pytest-timeout": "pytest_timeout",
}
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
        *(packages(extra) for extra in DECLARED if extra not in ("all", "dev", "pytorch3d"))
    )


def test_the_version_is_written_once_more_and_equal() -> None:
    assert pyproject()["project"]["version"] == refkp.__version__


def optional_imports(node: ast.AST) -> Iterator[str]:
    """The modules of extras that are imported below a node, but for typing and inside named_extras()."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.With) and ast.unparse(child.items[0]) == "named_extras()":
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            names = [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            names = [child.module or ""]
        else:
            names = []
        yield from (
            name for name in names if any(name.split(".")[0] in packages for packages in EXTRAS.values())
        )
        yield from optional_imports(child)


@pytest.mark.parametrize("path", files(".py", under=PACKAGE), ids=module_name)
def test_every_import_of_an_optional_package_names_its_extra(path: Path) -> None:
    if path.stem == "triton":
        return  # imported once refkp.ops._backends has found the package
    names = list(optional_imports(parsed(path)))
    assert not names, f"{path.name} imports {', '.join(names)} outside of `with named_extras():`"


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("refkp.systems.panorama.views.images", "PIL", "viz"),
        ("refkp.systems.panorama.training.module", "lightning", "train"),
        ("refkp.systems.panorama.pictures", "matplotlib", "viz"),
        ("refkp.demo.captions", "matplotlib", "viz"),
        ("refkp.training.cli", "lightning", "train"),
    ],
)
def test_an_import_without_its_extra_says_what_to_install(module: str, package: str, extra: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"pip install 'refkp[{extra}]'" in done.stderr.splitlines()[-1]


def test_other_missing_modules_keep_their_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package'"), named_extras():
        importlib.import_module("no_such_package")
