"""Options and fixtures of the benchmark suites, and the table after a run. Run them with `refkp bench`."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from bench.support import Compare, Row, Settings, measure
from refkp.bench import table
from refkp.machine import collect


def pytest_addoption(parser: pytest.Parser) -> None:
    add = parser.getgroup("refkp bench").addoption
    add("--bench-smoke", action="store_true", help="correctness gates, each run timed once, no large rows")
    add("--bench-device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--bench-threads", type=int, default=os.cpu_count(), help="torch.set_num_threads")
    add("--bench-budget", type=float, default=Settings().budget_s, help="seconds per row")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(config.getoption("--bench-threads"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--bench-smoke"):
        large = [item for item in items if item.get_closest_marker("large")]
        config.hook.pytest_deselected(items=large)
        items[:] = [item for item in items if item not in large]


def pytest_sessionstart(session: pytest.Session) -> None:
    """The first line: what the suites run on."""
    device, reporter = session.config.getoption("--bench-device"), session.config.pluginmanager
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    line = f"refkp bench: {name}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    reporter.get_plugin("terminalreporter").write_line(line)


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    return request.config.getoption("--bench-device")


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: Any) -> Compare:
    """Gates, times and records one Row."""
    smoke, budget = (request.config.getoption(name) for name in ("--bench-smoke", "--bench-budget"))
    torch.manual_seed(0)

    def run(row: Row) -> dict[str, Any]:
        return measure(row, benchmark, Settings(smoke=smoke, budget_s=budget))

    return run


@pytest.hookimpl(optionalhook=True)  # without pytest-benchmark the suites are still collected
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What refkp knows of the machine, without its network name and the flags of its processor."""
    machine_info.pop("node", None)
    machine_info.get("cpu", {}).pop("flags", None)
    machine_info["refkp"] = {
        key: value for key, value in collect().items() if key not in ("backends", "extras")
    }


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    records = [benchmark.extra_info for benchmark in session.benchmarks] if session else []
    rows = [record for record in records if "ratio" in record]
    if rows:
        terminalreporter.section("refkp bench")
        terminalreporter.write_line(table(rows))
