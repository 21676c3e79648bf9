"""Which precision a device trains in: bfloat16 where it computes in it, float32 elsewhere."""

from __future__ import annotations

import time
from typing import Literal

import torch

from refkp._measure import Step

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]

#: A product of the size that small models spend their time in.
_SHAPE = (1024, 128, 512)
_ROUNDS = 7

#: A CPU with bfloat16 units is more than this many times faster in them, one without several times slower.
_PAYS = 1.2


def chosen_precision(precision: Precision, device: torch.device) -> Precision:
    """What "auto" means on a device; any other choice as it is.

    A CUDA device is asked whether it has bfloat16 units. A CPU is timed: without bfloat16 instructions it
    emulates each product, some forty times slower than in float32, and says nothing about it.
    """
    if precision != "auto":
        return precision
    on_cuda = device.type == "cuda"
    pays = torch.cuda.is_bf16_supported(including_emulation=False) if on_cuda else bfloat16_speedup() > _PAYS
    return "bf16-mixed" if pays else "32-true"


def bfloat16_speedup() -> float:
    """How many times faster this CPU forms a product in bfloat16 than in float32, both fresh from float32.

    In the time that one thread computes, and the best of some rounds of that: two threads wait for each other by the
    clock, and where other work shares the cores, that has come to another answer.
    """
    rows, inner, columns = _SHAPE
    a, b = torch.ones(rows, inner), torch.ones(inner, columns)

    def product(dtype: torch.dtype) -> Step:
        return lambda: (a.to(dtype) @ b.to(dtype)).float()

    steps = product(torch.float32), product(torch.bfloat16)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, *rounds = [[_computing_seconds(step) for step in steps] for _ in range(1 + _ROUNDS)]
    finally:
        torch.set_num_threads(num_threads)
    in_float32, in_bfloat16 = map(min, zip(*rounds, strict=True))
    return in_float32 / in_bfloat16


def _computing_seconds(step: Step) -> float:
    """The seconds that this thread computes in one run, without those in which it waits."""
    start = time.thread_time()
    step()
    return time.thread_time() - start
