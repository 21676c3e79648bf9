"""What one step takes, in time and memory, and how far its outputs are from others."""

from __future__ import annotations

import ctypes
import math
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Step = Callable[[], Any]  # runs once; returns its outputs: a tensor or a sequence of tensors

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class Timing(NamedTuple):
    """The times of one contender in seconds."""

    median_s: float
    iqr_s: float
    rounds: int


def synchronised(step: Step, device: str) -> Step:
    """The step that returns only when its work is done, on CUDA too."""
    if device == "cpu":
        return step

    def finished() -> Any:
        result = step()
        torch.cuda.synchronize()
        return result

    return finished


def stopwatch(step: Step) -> float:
    """The seconds that one run takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def timing(seconds: Sequence[float]) -> Timing:
    """Median and interquartile range."""
    low, _, high = (
        statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else (0.0, 0.0, 0.0)
    )
    return Timing(statistics.median(seconds), high - low, len(seconds))


def take_turns(steps: Mapping[str, Step], rounds: int) -> dict[str, Timing]:
    """The times of steps that run one after the other in every round, so that noise hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(stopwatch(step))
    return {name: timing(values) for name, values in seconds.items()}


def fitting_rounds(steps: Iterable[Step], budget_s: float, least: int, most: int) -> int:
    """How many rounds of all steps fit into `budget_s`, by one run of each; at least `least`, at most `most`."""
    seconds = sum(map(stopwatch, steps))
    return max(least, min(int(budget_s / seconds), most))


class _OperatorCount(TorchDispatchMode):
    num_operators = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.num_operators += 1
        return func(*args, **(kwargs or {}))


def num_operators(step: Step) -> int:
    """How many operators torch dispatches in one run: on a GPU, about as many launches."""
    with _OperatorCount() as count:
        step()
    return count.num_operators


def relative_error(got: Tensor, want: Tensor) -> float:
    """max|got - want| / max|want|; infinite for other shapes or where one is NaN and the other is not."""
    if got.shape != want.shape:
        return math.inf
    if got.numel() == 0:
        return 0.0
    got, want = got.detach().cpu().double(), want.detach().cpu().double()
    if not torch.equal(got.isnan(), want.isnan()):
        return math.inf
    scale = float(want.nan_to_num().abs().max())
    return float((got - want).nan_to_num().abs().max()) / (scale if scale > 0 else 1.0)


def peak_memory(step: Callable[[], Any], device: str) -> int | None:
    """The most bytes that one warm run holds beyond what was held before it, its outputs included.

    On CUDA: the peak of torch's allocator. On CPU: the peak of the resident memory as Linux counts it,
    whoever allocates, after freed memory was returned to the system; None where Linux does not offer that.
    """
    step()
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not _CLEAR_REFS.exists():
        return None
    _return_freed_memory()
    _CLEAR_REFS.write_text("5")  # resets the peak (VmHWM) to what is resident now
    before = _resident_bytes("VmRSS")
    step()
    return max(_resident_bytes("VmHWM") - before, 0)


def _return_freed_memory() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, other C libraries may not
    if trim is not None:
        trim(0)


def _resident_bytes(field: str) -> int:
    match = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    return int(match[1]) * 1024 if match else 0
