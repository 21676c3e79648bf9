"""Every Triton kernel compiles for a GPU, which the interpreter of the other tests does not show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="needs the extra `triton`")

from tests.structure.tree import ROOT


def test_every_kernel_compiles_for_sm_90(tmp_path: Path) -> None:
    program = ROOT / "tests" / "support" / "triton_kernels.py"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-300:] + run.stderr[-3000:]
