"""What this machine can do: memory bandwidth and arithmetic."""

from __future__ import annotations

import functools

import torch

from refkp._measure import Step, stopwatch, synchronised


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


def _best_seconds(step: Step, device: str, rounds: int = 6) -> float:
    finished = synchronised(step, device)
    return min(stopwatch(finished) for _ in range(rounds))
