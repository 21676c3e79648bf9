"""One op, one name in every layer: each op has every file, and no file belongs to no op."""

from __future__ import annotations

import inspect
import re

import pytest

import refkp.ops
from refkp.ops import OPS
from tests.structure.tree import PACKAGE, ROOT, files

CSRC = ROOT / "csrc"
SYSTEMS = [path.name for path in (PACKAGE / "systems").iterdir() if (path / "__init__.py").is_file()]


@pytest.mark.parametrize("op", OPS)
def test_an_op_has_every_file(op: str) -> None:
    kernels = [f"{op}.h", f"{op}_cpu.cpp", f"{op}_cuda.cu"]
    families = {path.parent for name in kernels for path in CSRC.glob(f"*/{name}")}
    assert len(families) == 1, f"{kernels} must lie in one folder of csrc; found in {sorted(families)}"
    wanted = [family / name for family in families for name in kernels]
    wanted += [
        PACKAGE / "ops" / op / f"{name}.py"
        for name in ("__init__", "reference", "library", "native", "triton")
    ]
    wanted += [ROOT / "tests" / "ops" / f"test_{op}.py", ROOT / "bench" / f"test_bench_{op}.py"]
    missing = [str(path.relative_to(ROOT)) for path in wanted if not path.is_file()]
    assert not missing, f"{op} lacks {', '.join(missing)}"


@pytest.mark.parametrize("op", OPS)
def test_an_op_is_bound_built_and_public(op: str) -> None:
    bindings = (CSRC / "module.cpp").read_text()
    for entry in (f"{op}_cpu", f"{op}_cuda"):
        assert f'"{entry}"' in bindings, f"csrc/module.cpp binds no {entry}"
    built = (ROOT / "CMakeLists.txt").read_text()
    assert all(f"/{op}_{kind}" in built for kind in ("cpu.cpp", "cuda.cu")), (
        f"CMakeLists.txt does not build {op}"
    )
    function = getattr(refkp.ops, op)
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    assert op in refkp.ops.__all__
    assert len(positional) <= 8, f"{op} takes {len(positional)} positional arguments"
    assert "backend" in inspect.signature(function).parameters


def test_no_file_belongs_to_no_op() -> None:
    kernels = {re.sub(r"_(cpu|cuda)$", "", path.stem) for path in files(".cpp", ".cu", under=CSRC)}
    assert kernels - {"module", "isa", "parallel"} <= set(OPS)
    folders = {path.name for path in (PACKAGE / "ops").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(OPS)
    # The tests of an op are in test_NAME.py, or in several test_NAME_PART.py.
    for path in (ROOT / "tests" / "ops").glob("test_*.py"):
        name = path.stem.removeprefix("test_")
        owned = any(name == op or name.startswith(f"{op}_") for op in OPS)
        assert owned or (PACKAGE / "ops" / f"_{name}.py").exists(), f"{path.name} tests no op"
    # Those of an op or a system may be several files too.
    suites = {path.stem.removeprefix("test_bench_") for path in (ROOT / "bench").glob("test_*.py")}
    known = {*OPS, *SYSTEMS, "triangulation"}  # the one function of geometry that is raced
    stray = {name for name in suites if not any(name == of or name.startswith(f"{of}_") for of in known)}
    assert not stray
