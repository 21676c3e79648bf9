"""The value outside an image, for the ops that blend it in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor

from refkp._checks import fail, number


def fill_values(function: str, fill: float | Iterable[float], channels: int) -> list[float]:
    """One value a channel, or an empty list where nothing is blended."""
    fill = fill.tolist() if isinstance(fill, (Tensor, np.ndarray)) else fill
    rule = f"a number or one per channel (C={channels})"
    if isinstance(fill, str):
        fail(function, "fill", rule, fill)
    if isinstance(fill, Iterable):
        values = [number(function, "fill", value) for value in fill]
    else:
        values = [number(function, "fill", fill)] * channels
    if len(values) != channels:
        fail(function, "fill", rule, f"{len(values)} numbers")
    if not all(abs(value) < float("inf") for value in values):
        fail(function, "fill", "finite", values)
    return values if any(values) else []
