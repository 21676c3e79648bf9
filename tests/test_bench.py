"""`refkp bench` and the contract of its rows: the gate, the interleaved timing, the table, the comparison."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import test_bench_panorama as panorama_suite
from bench.machine import roofline_seconds
from bench.support import Row, Settings, gate, measure, with_backward
from refkp import bench
from refkp._measure import fitting_rounds, num_operators, peak_memory, relative_error, timing

SMOKE = Settings(smoke=True)


class FakeBenchmark:
    """Stands for the fixture of pytest-benchmark: runs set-up and target in turn."""

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}
        self.stats: Any = None
        self.group = ""

    def pedantic(
        self,
        target: Callable[[], Any],
        setup: Callable[[], None] = lambda: None,
        rounds: int = 1,
        iterations: int = 1,
    ) -> Any:
        for _ in range(rounds):
            setup()
            result = target()
        self.stats = SimpleNamespace(stats=SimpleNamespace(data=[0.5] * rounds))
        return result


def row(**changes: Any) -> Row:
    x = torch.arange(6.0)
    defaults = {
        "op": "double",
        "mode": "forward",
        "shape": x.shape,
        "dtype": x.dtype,
        "ours": lambda: x * 2,
        "peers": {"torch": lambda: x + x, "slow": lambda: torch.stack((x, x)).sum(0)},
        "reference": lambda: x.double() * 2,
        "target": 2.0,
        "bytes": 48,
    }
    return Row(**{**defaults, **changes})


def test_the_gate_stops_a_contender_that_is_wrong() -> None:
    assert gate(row()) == {"refkp": 0.0, "torch": 0.0, "slow": 0.0}
    with pytest.raises(AssertionError, match=r"double forward: refkp is off by 0\.5"):
        gate(row(ours=lambda: torch.arange(6.0)))
    off = {"torch": lambda: torch.arange(6.0) * 2.01}
    with pytest.raises(AssertionError, match="torch is off"):
        gate(row(peers=off))
    assert gate(row(peers=off, peer_tolerance=0.01))["torch"] == pytest.approx(0.005, rel=1e-3)


def test_a_row_without_a_peer_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="`peers` of double must name at least one peer"):
        row(peers={})


@pytest.mark.parametrize(
    ("got", "want", "error"),
    [
        (torch.zeros(2), torch.zeros(3), float("inf")),
        (torch.tensor([torch.nan]), torch.ones(1), float("inf")),
        (torch.tensor([torch.nan, 1.0]), torch.tensor([torch.nan, 2.0]), 0.5),
        (torch.zeros(0), torch.zeros(0), 0.0),
        (torch.tensor([0.25]), torch.zeros(1), 0.25),
    ],
)
def test_relative_error(got: Tensor, want: Tensor, error: float) -> None:
    assert relative_error(got, want) == error


def test_contenders_take_turns_and_ours_is_timed_by_the_fixture() -> None:
    order: list[str] = []

    def step(name: str) -> Callable[[], Tensor]:
        return lambda: order.append(name) or torch.ones(1)

    contest = row(ours=step("ours"), peers={"a": step("a"), "b": step("b")}, reference=None)
    record = measure(contest, FakeBenchmark(), Settings(budget_s=0.0, min_rounds=3))
    assert record["num_operators"] == {"refkp": 1, "a": 1, "b": 1}
    assert "".join(name[0] for name in order).count("abo") >= 3
    assert record["contenders"]["refkp"] == {"median_s": 0.5, "iqr_s": 0.0, "rounds": 3, "error": 0.0}
    assert record["contenders"]["a"]["rounds"] == 3
    assert record["ratio"] == record["contenders"][record["best_peer"]]["median_s"] / 0.5
    assert record["roofline"]["bound"] == "memory"


def test_smoke_is_one_repetition_without_memory_and_roofline() -> None:
    runs: list[str] = []

    def step(name: str) -> Callable[[], Tensor]:
        return lambda: runs.append(name) or torch.ones(1)

    contest = row(ours=step("ours"), peers={"a": step("a"), "b": step("b")}, reference=None)
    record = measure(contest, FakeBenchmark(), SMOKE)
    assert sorted(runs) == ["a", "b", "ours"]  # the gate is the repetition
    assert record["contenders"]["a"]["rounds"] == record["contenders"]["refkp"]["rounds"] == 1
    assert not {"peak_bytes", "num_operators", "roofline"} & record.keys()


def test_timing_is_median_and_interquartile_range() -> None:
    assert timing([4.0, 1.0, 2.0, 3.0, 100.0]) == (3.0, 2.0, 5)
    assert timing([7.0]) == (7.0, 0.0, 1)


def test_with_backward_returns_output_and_gradients() -> None:
    x = torch.ones(3, requires_grad=True)
    output, grad = with_backward(lambda: x * 5, [x])()
    assert torch.equal(output, torch.full((3,), 5.0))
    assert torch.equal(grad, torch.full((3,), 5.0))
    forward = lambda: x  # noqa: E731
    assert with_backward(forward, []) is forward


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's count of resident memory"
)
def test_peak_memory_counts_the_temporaries() -> None:
    x = torch.ones(4_000_000)
    peak = peak_memory(
        lambda: (x * 2 + 1) * 3, "cpu"
    )  # arrays of 16 MB: two at once, or three if the allocator keeps one
    assert peak is not None
    assert 28e6 < peak < 52e6


def test_rounds_fit_a_budget_within_their_bounds() -> None:
    steps = [lambda: time.sleep(0.01)] * 2
    assert fitting_rounds(steps, 0.0, least=3, most=9) == 3
    assert fitting_rounds(steps, 1e3, least=3, most=9) == 9
    assert 1 <= fitting_rounds(steps, 0.1, least=1, most=100) <= 5


def test_operators_are_those_that_torch_dispatches() -> None:
    x = torch.ones(3)
    assert num_operators(lambda: None) == 0
    assert num_operators(lambda: (x * 2, x + x)) == 2


def test_roofline_grows_with_the_work() -> None:
    assert roofline_seconds("memory", 0, "cpu", torch.float32) == 0.0
    once, twice = (
        roofline_seconds("arithmetic", flops, "cpu", torch.float32) for flops in (10**9, 2 * 10**9)
    )
    assert 0 < once < 10
    assert twice == pytest.approx(2 * once)


def recorded(ratio: float, **changes: Any) -> dict[str, Any]:
    return {**measure(row(), FakeBenchmark(), SMOKE), "ratio": ratio, **changes}


def test_the_table_keeps_and_marks_losing_rows() -> None:
    lines = bench.table([recorded(0.5), recorded(3.0), recorded(1.0, target=None)]).splitlines()
    assert lines[0].split()[:4] == ["op", "mode", "shape", "dtype"]
    assert "0.50x" in lines[1]
    assert "2x missed" in lines[1]
    assert "missed" not in lines[2] + lines[3]


def test_a_ratio_that_fell_beyond_the_margin_is_a_regression() -> None:
    earlier = [recorded(2.0), recorded(5.0, mode="backward")]
    assert bench.regressions([recorded(1.7)], earlier, margin=0.2) == []
    (line,) = bench.regressions([recorded(1.5), recorded(0.1, op="new")], earlier, margin=0.2)
    assert line == "REGRESSION double forward [6] float32 cpu: ratio 1.50, was 2.00"


def test_rows_are_read_from_a_results_file(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"benchmarks": [{"extra_info": recorded(2.0)}, {"extra_info": {}}]}))
    assert [entry["ratio"] for entry in bench.load_rows(file)] == [2.0]


@pytest.mark.parametrize("mode", panorama_suite.MODES)
def test_every_row_of_the_panorama_losses_passes_its_gate(mode: str) -> None:
    """The rows at a small size: ours and every peer have one value and one gradient."""
    for make in (panorama_suite.grid_row, panorama_suite.sequential_row):
        errors = gate(make((1, 8), mode, "cpu"))
        assert errors.pop("refkp") == 0
        assert all(error < 1e-4 for error in errors.values())


def test_the_panorama_rows_show_how_memory_grows_with_pairs_and_with_dimensions() -> None:
    sizes = [size for size, mode in panorama_suite.CONTESTS if mode == panorama_suite.BACKWARD]
    samples, dim = panorama_suite.FULL
    assert {size for size in sizes if size[1] == dim} == {(samples // k, dim) for k in (1, 2, 4)}
    assert {size for size in sizes if size[0] == samples} == {(samples, dim // k) for k in (1, 2, 4)}


def test_without_suites_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Run it from the root of a checkout or name it with --suite"):
        bench.main(["--suite", str(tmp_path)])


def test_the_command_runs_a_suite_and_fails_on_a_regression(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pytest_benchmark", reason="refkp bench needs the extra `dev`")
    root = Path(__file__).parents[1]
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "conftest.py").write_text("from bench.conftest import *\n")
    (suite / "test_bench_double.py").write_text(
        "import torch\nfrom bench.support import Row\n\n"
        "def test_bench_double(compare, device):\n    x = torch.ones(8)\n"
        "    compare(Row(op='double', mode='forward', shape=x.shape, dtype=x.dtype, device=device,\n"
        "                ours=lambda: x * 2, peers={'torch': lambda: x + x}))\n"
    )
    monkeypatch.syspath_prepend(root)
    monkeypatch.setenv("PYTHONPATH", f"{root}:{Path(bench.__file__).parents[1]}")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # whose benchmarks would not be timed
    first = tmp_path / "first.json"
    call = ["--suite", str(suite), "--smoke", "--device", "cpu"]
    assert bench.main([*call, "--json", str(first)]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith(f"refkp bench: cpu, {os.cpu_count()} threads")
    assert ["double", "forward", "8", "float32"] in [line.split()[:4] for line in printed.splitlines()]
    report = json.loads(first.read_text())
    report["benchmarks"][0]["extra_info"]["ratio"] = 1e9
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(report))

    def replay(command: list[str], **options: Any) -> SimpleNamespace:
        (target,) = (part.partition("=")[2] for part in command if part.startswith("--benchmark-json="))
        shutil.copy(first, target)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(bench.subprocess, "run", replay)  # the same results once more, without the wait
    assert bench.main([*call, "--compare", str(first)]) == 0
    assert bench.main([*call, "--compare", str(earlier)]) == 1
    assert "REGRESSION double forward" in capfd.readouterr().out
