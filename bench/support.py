"""The contract of a benchmark row: what is compared, the gate it must pass, and how it is timed.

A suite describes rows and hands each to the `compare` fixture:

    def test_bench_my_op(compare: Compare, device: str) -> None:
        x = torch.randn(1024, 1024, device=device)
        compare(Row(
            op="my_op", mode="forward", shape=x.shape, dtype=x.dtype,
            ours=lambda: my_op(x),
            peers={"torch": lambda: composition(x)},
            reference=lambda: my_op(x, backend="reference"),
            target=2.0, bytes=2 * nbytes(x),
        ))

All contenders of a row run in one process on the same inputs, one after the other in every round, so that
noise of the machine hits them alike: pytest-benchmark times ours, and the others run, timed, in its set-up
before each round. Times are medians with the interquartile range. A contender that is wrong is never timed.

A smoke run times the runs of the gate and makes no others. Rows marked `large` are not in it: a smaller sibling passes
the same gate.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.machine import roofline_seconds
from refkp._measure import (
    Step,
    Timing,
    fitting_rounds,
    num_operators,
    peak_memory,
    relative_error,
    stopwatch,
    synchronised,
    timing,
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison. `ratio` in the results is the median of the best peer over the median of ours."""

    op: str
    mode: str  # "forward" or "forward+backward"
    shape: Sequence[int]  # of the main input
    dtype: torch.dtype
    ours: Step  # the backend that backend=None chooses
    peers: Mapping[str, Step]  # what a user would run otherwise, as fast as it goes
    reference: Step | None = None  # ours, slow and obvious: judges all others, timed a few times
    own: Mapping[str, Step] = dataclasses.field(default_factory=dict)  # our other backends, never a peer
    target: float | None = None  # wanted ratio; a row below it stays in the table and is marked
    bytes: int = 0  # least memory traffic of the work: inputs read once, outputs written once
    flops: int = 0  # least arithmetic of the work
    tolerance: float = 1e-4  # allowed |x - reference| / max|reference| of ours and own, for every output
    peer_tolerance: float | None = None  # the same for peers where they round otherwise; None: `tolerance`
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.peers:
            raise ValueError(f"bench: `peers` of {self.op} must name at least one peer; got none.")


class Settings(NamedTuple):
    """How long to measure: one repetition for a smoke run, else as many rounds as fit the budget."""

    smoke: bool = False
    budget_s: float = 4.0  # per row
    min_rounds: int = 7
    max_rounds: int = 60


Compare = Callable[[Row], dict[str, Any]]

#: Errors by contender, and the seconds of each run of all but ours, which the fixture times.
Measured = tuple[dict[str, float], dict[str, list[float]]]


def measure(row: Row, benchmark: Any, settings: Settings) -> dict[str, Any]:
    """Gate and time one row; the record goes to `benchmark.extra_info` and so into its JSON."""
    errors, seconds = (_smoke if settings.smoke else _full)(row, benchmark, settings)
    if benchmark.stats is None:  # --benchmark-disable: the gate is all
        return {}
    seconds["refkp"] = list(benchmark.stats.stats.data)
    seconds |= _reference_seconds(row, settings)
    record = _record(row, {name: timing(values) for name, values in seconds.items()}, errors)
    if not settings.smoke:
        record["peak_bytes"] = {name: peak_memory(step, row.device) for name, step in _timed(row).items()}
        record["num_operators"] = {name: num_operators(step) for name, step in _timed(row).items()}
        record["roofline"] = _roofline(row, record["contenders"]["refkp"]["median_s"])
    benchmark.group = row.op
    benchmark.extra_info.update(record)
    return record


def _full(row: Row, benchmark: Any, settings: Settings) -> Measured:
    errors = gate(row)
    steps = {name: synchronised(step, row.device) for name, step in _timed(row).items()}
    ours = steps.pop("refkp")
    seconds: dict[str, list[float]] = {name: [] for name in steps}

    def run_the_others() -> None:
        gc.collect(0)
        for name, step in steps.items():
            seconds[name].append(stopwatch(step))

    rounds = _rounds([ours, *steps.values()], settings)
    benchmark.pedantic(ours, setup=run_the_others, rounds=rounds, iterations=1)
    return errors, seconds


def _smoke(row: Row, benchmark: Any, settings: Settings) -> Measured:
    seconds: dict[str, list[float]] = {}

    def timed(name: str, step: Step) -> Any:
        step = synchronised(step, row.device)
        if name == "refkp":
            return benchmark.pedantic(step, rounds=1, iterations=1)
        start = time.perf_counter()
        result = step()
        seconds[name] = [time.perf_counter() - start]
        return result

    return gate(row, timed), seconds


def gate(row: Row, run: Callable[[str, Step], Any] = lambda _, step: step()) -> dict[str, float]:
    """Raise AssertionError unless every contender agrees with the reference (without one: peers with ours).

    Each contender runs once, by `run` of its name and its step. Returns its largest |x - reference| / max|reference|
    over its outputs.
    """
    ours = _tensors(run("refkp", row.ours))
    want = ours if row.reference is None else _tensors(row.reference())
    peer_tolerance = row.tolerance if row.peer_tolerance is None else row.peer_tolerance
    errors = {}
    for name, step in _timed(row).items():
        allowed = peer_tolerance if name in row.peers else row.tolerance
        pairs = zip(ours if name == "refkp" else _tensors(run(name, step)), want, strict=True)
        errors[name] = max((relative_error(got, wanted) for got, wanted in pairs), default=0.0)
        told = f"{row.op} {row.mode}: {name} is off by {errors[name]:.3g}, allowed {allowed:.3g}"
        assert errors[name] <= allowed, told
    return errors


def with_backward(step: Step, leaves: Sequence[Tensor]) -> Step:
    """The step that also runs the backward pass for an output gradient of ones; returns output and gradients.

    The ones are made once and not timed. Without leaves it is the step itself: the forward pass alone.
    """
    if not leaves:
        return step
    ones = torch.ones_like(step())

    def full() -> tuple[Tensor, ...]:
        output = step()
        return (output.detach(), *torch.autograd.grad(output, leaves, ones))

    return full


def nbytes(*tensors: Tensor) -> int:
    """The bytes that the elements of all tensors take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _timed(row: Row) -> dict[str, Step]:
    return {"refkp": row.ours, **row.own, **row.peers}


def _tensors(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def _rounds(steps: Sequence[Step], settings: Settings) -> int:
    return fitting_rounds(steps, settings.budget_s, settings.min_rounds, settings.max_rounds)


def _reference_seconds(row: Row, settings: Settings) -> dict[str, list[float]]:
    """The reference is slow by design: three runs, or the one that outlasts a third of the budget."""
    if row.reference is None or settings.smoke:
        return {}
    step = synchronised(row.reference, row.device)
    first = stopwatch(step)
    again = 0 if first > settings.budget_s / 3 else 2
    return {"reference": [first] + [stopwatch(step) for _ in range(again)]}


def _record(row: Row, timings: Mapping[str, Timing], errors: Mapping[str, float]) -> dict[str, Any]:
    best = min(row.peers, key=lambda name: timings[name].median_s)
    return {
        "op": row.op,
        "mode": row.mode,
        "shape": list(row.shape),
        "dtype": str(row.dtype).removeprefix("torch."),
        "device": row.device,
        "contenders": {
            name: {**value._asdict(), "error": errors.get(name)} for name, value in timings.items()
        },
        "peers": list(row.peers),
        "best_peer": best,
        "ratio": timings[best].median_s / timings["refkp"].median_s,
        "target": row.target,
    }


def _roofline(row: Row, median_s: float) -> dict[str, Any] | None:
    """The share of the time that the memory or the arithmetic of this machine needs at least for the work."""
    least = {
        "memory": roofline_seconds("memory", row.bytes, row.device, row.dtype),
        "arithmetic": roofline_seconds("arithmetic", row.flops, row.device, row.dtype),
    }
    bound = max(least, key=lambda name: least[name])
    return {"bound": bound, "share": least[bound] / median_s} if least[bound] > 0 else None
