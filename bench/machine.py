"""What this machine can do, and what a step takes of it: memory bandwidth, arithmetic, peak memory."""

from __future__ import annotations

import ctypes
import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def roofline_seconds(kind: str, amount: int, device: str, dtype: torch.dtype) -> float:
    """The least seconds for `amount` bytes (kind "memory") or operations (kind "arithmetic")."""
    if amount == 0:
        return 0.0
    return amount / (bandwidth(device) if kind == "memory" else arithmetic(device, dtype))


@functools.cache
def bandwidth(device: str) -> float:
    """Bytes per second of the triad a = b + s c over arrays far larger than the caches."""
    count = 1 << (25 if device == "cpu" else 28)
    a, b, c = (torch.ones(count, device=device) for _ in range(3))
    return 3 * 4 * count / _best_seconds(lambda: torch.add(b, c, alpha=3.0, out=a), device)


@functools.cache
def arithmetic(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a square matrix product in `dtype`."""
    size = 1536 if device == "cpu" else 8192
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / _best_seconds(lambda: torch.mm(a, b), device)


def _best_seconds(step: Callable[[], Any], device: str, rounds: int = 6) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


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
