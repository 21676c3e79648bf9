"""The check for CUDA machines: its shares of time, its process under a limit, and a rehearsal of its cheap phases."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from refkp.ops import OPS
from scripts.gpu.check import MAY_BE_MISSING, is_good, limit
from scripts.gpu.phases import PHASES, ROOT
from scripts.gpu.process import run

NAMES = [phase.name for phase in PHASES]


def test_shares_of_eight_minutes_are_those_of_the_phases() -> None:
    build, agreement, *_ = PHASES
    assert limit(build, 480, NAMES) == 90
    assert limit(agreement, 390, NAMES) == 60
    assert limit(agreement, 430, NAMES) == pytest.approx(60 * 430 / 390)  # the build was quick


def test_the_last_phases_take_what_is_left() -> None:
    racecheck, rest = PHASES[-2:]
    assert limit(racecheck, 80, NAMES) == 40
    assert limit(rest, 70, NAMES) == 70


@pytest.mark.parametrize(
    ("phase", "status", "good"),
    [
        *(("tests", "passed", True), ("tests", "failed", False), ("tests", "cut short", False)),
        *(("rest", "cut short", True), ("rest", "failed", False), ("memcheck", "skipped", True)),
    ],
)
def test_only_what_comes_last_may_be_cut_short(phase: str, status: str, good: bool) -> None:
    assert is_good({"phase": phase, "status": status}) is good


def test_a_command_beyond_its_limit_is_interrupted_and_keeps_what_it_wrote(tmp_path: Path) -> None:
    # Whoever starts the tests in the background has them ignore the signal, and what they start too.
    program = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\nprint('begun', flush=True)\n"
        "try: time.sleep(60)\nexcept KeyboardInterrupt: print('ended')"
    )
    outcome = run([sys.executable, "-c", program], 5.0, os.environ, tmp_path / "log.txt")
    assert outcome.code is None
    assert outcome.seconds < 30
    assert outcome.output == "begun\nended\n"
    assert "begun" in (tmp_path / "log.txt").read_text()


def test_the_exit_code_and_the_output_of_a_command_come_back(tmp_path: Path) -> None:
    for code in (0, 3):
        outcome = run(
            [sys.executable, "-c", f"print({code}); exit({code})"], 60.0, os.environ, tmp_path / "log.txt"
        )
        assert (outcome.code, outcome.output) == (code, f"{code}\n")


def test_blocked_packages_look_as_if_they_were_missing() -> None:
    paths = os.pathsep.join([str(ROOT / "scripts/gpu/blocked"), *sys.path])
    program = "from importlib.util import find_spec; print([find_spec(name) is None for name in ('torch', 'numpy')])"
    environment = os.environ | {"PYTHONPATH": paths, "REFKP_BLOCKED": ",".join((*MAY_BE_MISSING, "numpy"))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout == "[False, True]\n", done.stderr


def test_every_case_that_needs_a_device_has_cuda_in_its_name() -> None:
    """Parametrised cases have it in their ids; by it the check selects them."""
    for path in (ROOT / "tests" / "ops").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and "cuda.is_available" in ast.unparse(node):
                assert "cuda" in node.name, f"{path.name}: {node.name}"


@pytest.mark.slow
def test_a_rehearsal_passes_and_leaves_its_summary(tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core", reason="needs the build tools of the package")
    phases = ["build", "agreement", "memcheck"]
    command = [
        "bash",
        str(ROOT / "scripts/gpu_check.sh"),
        "--rehearse",
        "--minutes",
        "15",
        "--out",
        str(tmp_path),
    ]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run([*command, "--phases", *phases], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rehearsal"]
    assert [(record["phase"], record["status"]) for record in summary["phases"]] == [
        (phase, "passed") for phase in phases
    ]
    rows = json.loads((tmp_path / "agreement.json").read_text())
    assert {row["op"] for row in rows} == set(OPS)
    assert {row["direction"] for row in rows if row["status"] == "passed"} == {"forward", "backward"}
