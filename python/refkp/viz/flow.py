"""Flow as colour: the direction is the hue, the length the saturation; with the wheel that explains it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refkp._checks import fail
from refkp._extras import named_extras

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.floating[Any]]

#: Pixels below this confidence are unseen.
SEEN_FROM = 0.5
UNSEEN_GREY = 0.5
_SCALE_PERCENTILE = 99.0


def flow_to_color(
    flow: Array, *, max_flow: float | None = None, confidence: Array | None = None
) -> NDArray[np.float64]:
    """The colour of each flow vector.

    hue = (atan2(y, x) + pi) / 2 pi, saturation = min(1, |f| / max_flow), value 1: right (+x) is cyan, left red,
    down (+y) violet, up yellow-green, no motion white.

    Args:
        flow: [...,2], any unit, x first.
        max_flow: the length of full saturation; None: the 99th percentile of the lengths. Pictures that are to
            be compared need one value for all: `flow_scale`.
        confidence: [...], pixels below 0.5 become grey; a bool mask of the seen pixels is fine.

    Returns:
        [...,3] RGB in [0,1].

    Raises:
        ValueError: a shape, or a `max_flow` that is negative or not finite.

    Source: spec pose 8.

    >>> flow_to_color(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]), max_flow=1.0).round(3)
    array([[0., 1., 1.],
           [1., 0., 0.],
           [1., 1., 1.]])
    """
    if flow.shape[-1:] != (2,):
        fail("flow_to_color", "flow", "[...,2]", list(flow.shape))
    if max_flow is None:
        max_flow = flow_scale(flow)
    elif not 0 <= max_flow < np.inf:
        fail("flow_to_color", "max_flow", "finite and not negative", max_flow)
    length = np.linalg.norm(flow, axis=-1)
    saturation = np.clip(length / (max_flow + 1e-6), 0, 1)  # the term keeps a flow of zeros white
    rgb = _saturated(_hue(flow), saturation)
    if confidence is not None:
        if confidence.shape != length.shape:
            fail("flow_to_color", "confidence", f"{list(length.shape)}, as `flow`", list(confidence.shape))
        rgb[confidence < SEEN_FROM] = UNSEEN_GREY
    return rgb


def flow_scale(*flows: Array) -> float:
    """One length of full saturation for several flows [...,2]: the 99th percentile over all; 0 without a vector.

    Hand over the seen vectors alone, `flow[seen]`, where the others hold nothing meaningful.
    """
    lengths = np.concatenate([np.linalg.norm(flow, axis=-1).ravel() for flow in flows] or [np.zeros(0)])
    return float(np.percentile(lengths, _SCALE_PERCENTILE)) if lengths.size else 0.0


def flow_wheel(size: int) -> NDArray[np.float64]:
    """The colours of all flows up to full saturation, [size,size,3], x to the right and y down; black outside.

    Source: spec pose 8.
    """
    if size < 2:
        fail("flow_wheel", "size", "at least 2", size)
    side = np.linspace(-1, 1, size)
    flow = np.stack(np.meshgrid(side, side), -1)
    radius = np.linalg.norm(flow, axis=-1)
    rgb = _saturated(_hue(flow), np.clip(radius, 0, 1))
    rgb[radius > 1] = 0
    return rgb


def draw_wheel(axis: Axes, max_flow: float, unit: str) -> None:
    """The wheel with the directions at its rim, and what its radius stands for below."""
    wheel = flow_wheel(201)
    outside = (wheel == 0).all(-1, keepdims=True)
    axis.imshow(np.concatenate((wheel, 1.0 - outside), -1), extent=(-1, 1, 1, -1))
    for text, x, y in (("right", 1.12, 0), ("left", -1.12, 0), ("down", 0, 1.12), ("up", 0, -1.12)):
        side = {1: "left", -1: "right", 0: "center"}[int(np.sign(x))]
        level = {1: "top", -1: "bottom", 0: "center"}[int(np.sign(y))]
        axis.text(x, y, text, ha=side, va=level, fontsize=9)
    axis.text(0, 1.75, f"radius: {max_flow:.2g} {unit}", ha="center", va="top", fontsize=9)
    axis.set_xlim(-2.1, 2.1)
    axis.set_ylim(2.2, -1.6)
    axis.axis("off")


def flow_figure(
    panels: Mapping[str, tuple[Array, Array]], unit: str, *, max_flow: float | None = None
) -> Figure:
    """Flows side by side in one colour scale, with the wheel at the right.

    Args:
        panels: title -> (flow [H,W,2], seen [H,W] bool or confidence).
        unit: of the flow, for the wheel.
        max_flow: the length of full saturation; None: the 99th percentile over the seen pixels of all panels.

    Raises:
        ImportError: without matplotlib.
    """
    with named_extras():
        from matplotlib.figure import Figure
    if max_flow is None:
        max_flow = flow_scale(*(flow[confidence >= SEEN_FROM] for flow, confidence in panels.values()))
    figure = Figure(figsize=(3.6 * len(panels) + 2.6, 4.2), layout="constrained")
    grid = figure.add_gridspec(1, len(panels) + 1, width_ratios=[1.0] * len(panels) + [0.6])
    for column, (title, (flow, confidence)) in enumerate(panels.items()):
        axis = figure.add_subplot(grid[0, column])
        axis.imshow(flow_to_color(flow, max_flow=max_flow, confidence=confidence), interpolation="nearest")
        axis.set_title(title, fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
    draw_wheel(figure.add_subplot(grid[0, -1]), max_flow, unit)
    return figure


def _hue(flow: Array) -> NDArray[np.float64]:
    return (np.arctan2(flow[..., 1], flow[..., 0]) + np.pi) / (2 * np.pi)


def _saturated(hue: NDArray[np.float64], saturation: Array) -> NDArray[np.float64]:
    """HSV of value 1 as RGB [...,3]: each channel is a trapezoid over the hue circle."""
    sixths = 6 * hue
    pure = np.stack((abs(sixths - 3) - 1, 2 - abs(sixths - 2), 2 - abs(sixths - 4)), -1)
    return 1 - saturation[..., None] * (1 - np.clip(pure, 0, 1))
