"""scripts/new_op.py writes the whole chain, and the structure tests see that it is still empty."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

from tests.structure.tree import ROOT, files

NEW_OP = runpy.run_path(str(ROOT / "scripts" / "new_op.py"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that the script edits."""
    for name in ("CMakeLists.txt", "csrc/module.cpp", "python/refkp/ops/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_chain_is_complete(checkout: Path) -> None:
    assert NEW_OP["main"](["epipolar", "flow", "--root", str(checkout)]) == 0
    assert (checkout / "csrc/flow/epipolar_cuda.cu").is_file()
    assert (checkout / "python/refkp/ops/epipolar/library.py").is_file()
    assert (checkout / "bench/test_bench_epipolar.py").is_file()
    cmake = (checkout / "CMakeLists.txt").read_text()
    assert "csrc/flow/epipolar_cpu.cpp)" in cmake
    assert "csrc/flow/epipolar_cuda.cu)" in cmake
    assert "  // ---- epipolar ----\n}\n" in (checkout / "csrc/module.cpp").read_text()
    scope: dict[str, object] = {}
    text = (checkout / "python/refkp/ops/__init__.py").read_text()
    assert "from refkp.ops.epipolar import epipolar\n" in text
    exec("\n".join(line for line in text.splitlines() if not line.startswith("from ")), scope)
    assert scope["OPS"][-1] == scope["__all__"][-1] == "epipolar"  # type: ignore[index]


def test_an_op_that_exists_is_left_alone(checkout: Path) -> None:
    NEW_OP["write_chain"](checkout, "epipolar", "flow")
    before = (checkout / "CMakeLists.txt").read_text()
    with pytest.raises(SystemExit):
        NEW_OP["main"](["epipolar", "flow", "--root", str(checkout)])
    assert (checkout / "CMakeLists.txt").read_text() == before


def test_a_name_that_is_no_identifier_is_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        NEW_OP["main"](["Epi-polar", "flow", "--root", str(checkout)])
    assert "names are snake_case; got 'Epi-polar'" in capsys.readouterr().err


def test_no_place_holder_is_left() -> None:
    mark = NEW_OP["PLACE_HOLDER"]
    own = {ROOT / "scripts" / "new_op.py", Path(__file__).resolve()}
    left = [
        path for path in files(".py", ".h", ".cpp", ".cu") if path not in own and mark in path.read_text()
    ]
    assert not left
