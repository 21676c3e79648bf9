"""The phases of the check on a CUDA machine, in the order that pays where it is at hand for minutes."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import re
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.gpu.process import Outcome
from scripts.gpu.toolkit import find_tool, has

ROOT = Path(__file__).parents[2]
SUITES = ("affine_warp", "camera_warp", "e2p", "equivariance_loss", "vicreg", "flow_gt", "panorama", "pose")
#: All kernels live in the namespace refkp, and this stands in every mangled name of one.
KERNELS = "kns=5refkp"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs between a CUDA machine and a rehearsal without one."""

    out: Path
    scratch: Path  # for what is read once and not kept
    device: str
    architecture: str | None  # of the card, e.g. "90"; None builds no CUDA kernels
    workers: int
    dtypes: tuple[str, ...]
    select: str  # pytest -k of the tests of the ops
    rest: tuple[str, ...]  # arguments of pytest for the tests outside of tests/ops
    suites: tuple[str, ...]
    bench: tuple[str, ...]  # options of refkp bench

    @property
    def site(self) -> Path:
        """Where the build is installed: the environment stays as it is."""
        return self.scratch / "site"


class Skip(Exception):
    """Why a phase cannot run here."""


Command = tuple[list[str], dict[str, str]]  # and what it adds to the environment
Numbers = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Phase:
    """`share` is its part of the time, in seconds of 8 minutes; 0 takes what the others leave."""

    name: str
    share: float
    command: Callable[[Settings, float], Command]  # takes the seconds that it has; raises Skip
    numbers: Callable[[Settings, Outcome], Numbers]


# ---- build ----


def build(settings: Settings, seconds: float) -> Command:
    """For this card alone. REFKP_CUDA=ON: without nvcc it fails instead of leaving the kernels out."""
    defines = {"REFKP_CUDA": "OFF" if settings.architecture is None else "ON"}
    environment = {}
    if settings.architecture is not None:
        nvcc = find_tool("nvcc")
        if nvcc is None:
            raise Skip("nvcc is not on PATH, in CUDA_HOME, under /usr/local or in the wheels of the toolkit")
        defines["CMAKE_CUDA_ARCHITECTURES"] = settings.architecture
        environment["CUDACXX"] = nvcc
    command = [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index"]
    command += ["--upgrade", "--target", str(settings.site)]
    command += [f"--config-settings=cmake.define.{name}={value}" for name, value in defines.items()]
    return [*command, str(ROOT)], environment


def built(settings: Settings, outcome: Outcome) -> Numbers:
    libraries = [path.name for path in settings.site.glob("refkp/_C*.so")]
    return {"architecture": settings.architecture, "extension": libraries}


# ---- agreement, and the same calls under the sanitizer ----


def agreement(settings: Settings, seconds: float) -> Command:
    table = ["--json", str(settings.out / "agreement.json"), "--until", str(time.time() + seconds - 10)]
    return [*_agreement(settings), *table, "--dtypes", *settings.dtypes], {}


def agreed(settings: Settings, outcome: Outcome) -> Numbers:
    path = settings.out / "agreement.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    compared = [row for row in rows if row.get("error_of_allowed") is not None]
    worst = max(compared, key=lambda row: row["error_of_allowed"], default=None)
    failed = [row for row in rows if row["status"] == "failed"]
    skipped = collections.Counter(row["reason"] for row in rows if row["status"] == "skipped")
    return {"rows": len(compared), "failed": failed, "skipped": skipped, "worst": worst}


def sanitizer(tool: str) -> Callable[[Settings, float], Command]:
    """compute-sanitizer over the native float32 calls; a rehearsal runs the same calls without it."""

    def command(settings: Settings, seconds: float) -> Command:
        table = [
            "--json",
            str(settings.scratch / f"{tool}.json"),
            "--backends",
            "native",
            "--dtypes",
            "float32",
        ]
        environment = {
            "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"
        }  # each tensor its own allocation, with its own end
        plain = [*_agreement(settings), *table]
        if settings.device == "cpu":
            return plain, environment
        program = find_tool("compute-sanitizer")
        if program is None:
            raise Skip("compute-sanitizer is not on PATH nor in the CUDA toolkit")
        # Python takes longer to start the first kernel than the ten seconds that the tool waits by itself.
        options = [
            "--tool",
            tool,
            "--kernel-name",
            KERNELS,
            "--error-exitcode",
            "9",
            "--launch-timeout",
            "120",
        ]
        return [program, *options, *plain], environment

    return command


def sanitized(settings: Settings, outcome: Outcome) -> Numbers:
    """The lines that the tool ends with, such as `ERROR SUMMARY: 0 errors`."""
    return {"summary": re.findall(r"========= (.*SUMMARY.*)", outcome.output)}


def _agreement(settings: Settings) -> list[str]:
    return [sys.executable, "-m", "scripts.gpu.agreement", "--device", settings.device]


# ---- tests ----


def op_tests(settings: Settings, seconds: float) -> Command:
    return _pytest(settings, "tests.xml", "tests/ops", "-k", settings.select), {}


def other_tests(settings: Settings, seconds: float) -> Command:
    """All that is not about one op; tests of ops on the CPU need no CUDA machine."""
    return _pytest(settings, "rest.xml", "tests", "--ignore=tests/ops", "-m", "not slow", *settings.rest), {}


def _pytest(settings: Settings, report: str, *arguments: str) -> list[str]:
    if not has("pytest"):
        raise Skip("pytest is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    if has("xdist"):
        command += ["-n", str(settings.workers)]
    if has("pytest_timeout"):
        # A kernel that hangs never comes back to Python, which a signal needs; this ends the worker, and xdist
        # starts another. Without xdist it would end the run.
        command += ["--timeout", "60", "--timeout-method", "thread" if has("xdist") else "signal"]
    return [*command, f"--junitxml={settings.scratch / report}", *arguments]


def tested(report: str) -> Callable[[Settings, Outcome], Numbers]:
    """Counts, and the first lines of each failure."""

    def numbers(settings: Settings, outcome: Outcome) -> Numbers:
        missing = [name for name in ("xdist", "pytest_timeout") if not has(name)]
        path = settings.scratch / report
        if not path.exists():
            return {"without": missing}
        suite = next(ET.parse(path).iter("testsuite"))
        counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
        return {**counts, "without": missing, "failed": dict(_failures(suite))}

    return numbers


def _failures(suite: ET.Element) -> list[tuple[str, str]]:
    found = []
    for case in suite.iter("testcase"):
        for problem in (*case.iter("failure"), *case.iter("error")):
            name = f"{case.get('classname', '')}::{case.get('name', '')}"
            found.append((name, (problem.get("message") or problem.text or "")[:300]))
    return found


# ---- benchmarks ----


def benchmarks(settings: Settings, seconds: float) -> Command:
    if not has("pytest_benchmark"):
        raise Skip("pytest-benchmark is not installed")
    path = ["--json", str(settings.out / "bench.json")]
    suites = ["--suites", *settings.suites, "--", "--device", settings.device, *settings.bench]
    return [sys.executable, "-m", "scripts.gpu.benchmarks", *path, *suites], {}


def measured(settings: Settings, outcome: Outcome) -> Numbers:
    path = settings.out / "bench.json"
    report = json.loads(path.read_text()) if path.exists() else {"suites": {}, "benchmarks": []}
    rows = [entry["extra_info"] for entry in report["benchmarks"] if "ratio" in entry["extra_info"]]
    ratios = {
        f"{row['op']} {row['mode']} {row['shape']} {row['dtype']}": round(row["ratio"], 3) for row in rows
    }
    left = [suite for suite in settings.suites if suite not in report["suites"]]
    return {"suites": report["suites"], "not_reached": left, "ratios": ratios}


PHASES = (
    Phase("build", 90, build, built),
    Phase("agreement", 60, agreement, agreed),
    Phase("tests", 150, op_tests, tested("tests.xml")),
    Phase("bench", 120, benchmarks, measured),
    Phase("memcheck", 60, sanitizer("memcheck"), sanitized),
    Phase("racecheck", 0, sanitizer("racecheck"), sanitized),
    Phase("rest", 0, other_tests, tested("rest.xml")),
)


def environment(settings: Settings, blocked: tuple[str, ...]) -> dict[str, str]:
    """What every phase runs in. Triton's interpreter is off on a device, or Triton would never see it."""
    paths, variables = [str(settings.site)], {}
    if blocked:
        paths.insert(0, str(ROOT / "scripts" / "gpu" / "blocked"))
        # The plugin of hypothesis is a module of its own, which stays and would look for the package.
        variables = {"REFKP_BLOCKED": ",".join(blocked), "PYTEST_ADDOPTS": "-p no:hypothesispytest"}
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TRITON_INTERPRET": "1" if settings.device == "cpu" else "0",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        **variables,
    }
