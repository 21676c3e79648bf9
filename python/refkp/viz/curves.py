"""Curves of training runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from refkp._extras import named_extras

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def training_curves(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], ylabel: str) -> Figure:
    """One panel a curve, each (steps, values) thin and as a running mean of a tenth of its length thick.

    Raises:
        ImportError: without matplotlib.
    """
    with named_extras():
        from matplotlib.figure import Figure
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for axis, (name, (steps, values)) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        window = max(1, len(values) // 10)
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axis.plot(steps, values, color="#9db4d8", linewidth=1)
        axis.plot(steps[window - 1 :], smooth, color="#14213d", linewidth=2)
        axis.set_title(name, fontsize=11)
        axis.set_xlabel("step")
        axis.set_ylabel(ylabel)
        axis.grid(alpha=0.25)
    return figure
