"""Repeated measurements of several conditions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from refkp._extras import named_extras

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def spread_plot(
    groups: Mapping[str, Sequence[float]], xlabel: str, lines: Mapping[str, float] | None = None
) -> Figure:
    """One row a group: every value as a dot, their mean as a bar; `lines` are named vertical marks.

    Raises:
        ImportError: without matplotlib.
    """
    with named_extras():
        from matplotlib.figure import Figure
    figure = Figure(figsize=(9, 1.1 + 0.62 * len(groups)), layout="constrained")
    axis = figure.subplots()
    for row, values in enumerate(groups.values()):
        axis.barh(row, fmean(values), height=0.5, color="#c9d8f0")
        axis.plot(values, [row] * len(values), "o", color="#14213d", markersize=5, alpha=0.8)
    for (name, value), style in zip((lines or {}).items(), (":", "--", "-."), strict=False):
        axis.axvline(value, color="#b4462e", linestyle=style, linewidth=1.4, label=f"{name} {value:.3f}")
    axis.set_yticks(range(len(groups)), list(groups))
    axis.invert_yaxis()
    axis.set_xlabel(xlabel)
    axis.grid(axis="x", alpha=0.25)
    if lines:
        axis.legend(loc="lower right", fontsize=9)
    return figure
