"""Repeated measurements of several conditions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from refkp._extras import named_extras

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How far the dots of a row reach up and down; bars are 0.5 high.
_HALF = 0.2


def spread_plot(
    groups: Mapping[str, Sequence[float]], xlabel: str, lines: Mapping[str, float] | None = None
) -> Figure:
    """One row a group: every value as a dot, their mean as a bar; `lines` are named vertical marks.

    The dots of a row stand side by side, in the order of the values, so that equal ones are seen too; the legend lies
    outside.

    Raises:
        ImportError: without matplotlib.
    """
    with named_extras():
        from matplotlib.figure import Figure
    figure = Figure(figsize=(9, 1.1 + 0.62 * len(groups)), layout="constrained")
    axis = figure.subplots()
    for row, values in enumerate(groups.values()):
        axis.barh(row, fmean(values), height=0.5, color="#c9d8f0")
        heights = np.linspace(row - _HALF, row + _HALF, len(values)) if len(values) > 1 else [row]
        axis.plot(values, heights, "o", color="#14213d", markersize=5)
    for (name, value), style in zip((lines or {}).items(), (":", "--", "-."), strict=False):
        axis.axvline(value, color="#b4462e", linestyle=style, linewidth=1.4, label=f"{name} {value:.3f}")
    axis.set_yticks(range(len(groups)), list(groups))
    axis.invert_yaxis()
    axis.set_xlabel(xlabel)
    axis.grid(axis="x", alpha=0.25)
    if lines:
        figure.legend(loc="outside lower center", ncols=len(lines), fontsize=9)
    return figure
