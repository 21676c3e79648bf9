"""Pictures of panorama layouts: view mosaic, outlines, coverage map, pair graph, tokens of a pair.

Each function takes arrays and returns a matplotlib Figure; nothing here opens a window or knows a layout
class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._extras import named_extras
from refkp.geometry import sphere

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Picture = NDArray[np.uint8]  # [h,w,3]
_WIDTH = 12.0  # inches


def view_mosaic(views: Sequence[Picture], titles: Sequence[str], columns: int) -> Figure:
    """All views in rows of `columns`, each under its title."""
    rows = math.ceil(len(views) / columns)
    figure, axes = _subplots(rows, columns, _WIDTH * rows / columns * 1.2)
    for index, axis in enumerate(axes.flat):
        axis.axis("off")
        if index < len(views):
            axis.imshow(views[index])
            axis.set_title(titles[index], fontsize=9)
    return figure


def view_outlines(
    erp: Picture, outlines: Sequence[Tensor], centres: Tensor, titles: Sequence[str], colours: Sequence[Any]
) -> Figure:
    """The panorama with the border of every view and its centre, cut where they cross the seam.

    `outlines` are directions [n,3] along each border, `centres` directions [N,3].
    """
    figure, axis = _erp_axis(erp)
    for outline, colour in zip(outlines, colours, strict=True):
        _draw_line(axis, outline, erp, color=colour, linewidth=2)
    for centre, title, colour in zip(centres, titles, colours, strict=True):
        _label_direction(axis, centre, erp, title, colour)
    return figure


def pair_graph(
    erp: Picture, centres: Tensor, pairs: Sequence[tuple[int, int]], overlap: Sequence[float]
) -> Figure:
    """Tiles as nodes at their centres, directions [N,3], and pairs as arcs, coloured by their overlap."""
    with named_extras():
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

    figure, axis = _erp_axis(erp // 2)
    norm = Normalize(0.0, max(overlap, default=1.0))
    step = torch.linspace(0, 1, 33, dtype=centres.dtype)[:, None]
    for (a, b), share in sorted(zip(pairs, overlap, strict=True), key=lambda pair: pair[1]):
        arc = centres[a] * (1 - step) + centres[b] * step
        colour = colormaps["plasma"](norm(share))
        _draw_line(axis, arc, erp, color=colour, linewidth=1.5 + 3 * float(norm(share)))
    for tile, centre in enumerate(centres):
        _label_direction(axis, centre, erp, str(tile), "white")
    if pairs:
        scale = ScalarMappable(norm, colormaps["plasma"])
        figure.colorbar(scale, ax=axis, fraction=0.025, pad=0.02).set_label("shared part of the smaller tile")
    axis.set_title(f"{len(pairs)} pairs of {len(centres)} tiles", fontsize=11)
    return figure


def split_at_seam(line: NDArray[np.float64], width: int) -> list[NDArray[np.float64]]:
    """A polyline of ERP indices [n,2], cut where it crosses the seam; each part goes on to the border."""
    jumps = np.nonzero(np.abs(np.diff(line[:, 0])) > width / 2)[0]
    parts = np.split(line, jumps + 1)
    for before, after in zip(jumps, jumps + 1, strict=True):
        turn = np.array((math.copysign(width, line[before, 0] - line[after, 0]), 0.0))
        part = int(np.searchsorted(jumps, before))
        parts[part] = np.concatenate((parts[part], line[after : after + 1] + turn))
        parts[part + 1] = np.concatenate((line[before : before + 1] - turn, parts[part + 1]))
    return parts


def coverage_map(erp: Picture, multiplicity: NDArray[np.int64], seen: float) -> Figure:
    """How many tiles see each direction, over the panorama; `seen` is the covered part of the sphere."""
    with named_extras():
        from matplotlib import colormaps
        from matplotlib.colors import BoundaryNorm

    figure, axis = _erp_axis(erp)
    most = int(multiplicity.max())
    bounds = np.arange(most + 2) - 0.5
    image = axis.imshow(
        multiplicity,
        cmap=colormaps["viridis"].resampled(most + 1),
        norm=BoundaryNorm(bounds, most + 1),
        alpha=0.5,
        extent=axis.get_images()[0].get_extent(),
        interpolation="nearest",
    )
    bar = figure.colorbar(image, ax=axis, ticks=range(most + 1), fraction=0.025, pad=0.02)
    bar.set_label("tiles that see the direction")
    axis.set_title(f"{100 * seen:.1f} % of the sphere is seen", fontsize=11)
    return figure


def pair_overlay(
    tiles: Sequence[Picture],
    titles: Sequence[str],
    grid: tuple[int, int],
    visible: NDArray[np.bool_],
    lines: NDArray[np.float64],
) -> Figure:
    """Two tiles with their shared tokens bright, and lines between places that show the same direction.

    `visible` [2,Gh,Gw] are the tokens of either tile that the other one sees; `lines` [n,4] are token
    positions (row, column in A, row, column in B).
    """
    with named_extras():
        from matplotlib import colormaps
        from matplotlib.patches import ConnectionPatch

    figure, axes = _subplots(1, 2, _WIDTH / 2 * 1.1)
    for axis, tile, title, mask in zip(axes.flat, tiles, titles, visible, strict=True):
        axis.imshow(tile, extent=(-0.5, grid[1] - 0.5, grid[0] - 0.5, -0.5))
        shade = np.zeros((*grid, 4))
        shade[..., 3] = np.where(mask, 0.0, 0.7)
        axis.imshow(shade, interpolation="nearest")
        axis.set_xticks(np.arange(grid[1] + 1) - 0.5, labels=[])
        axis.set_yticks(np.arange(grid[0] + 1) - 0.5, labels=[])
        axis.grid(color="white", alpha=0.25, linewidth=0.5)
        axis.set_title(title, fontsize=11)
    colours = colormaps["turbo"](np.linspace(0.05, 0.95, max(len(lines), 1)))
    for (row_a, col_a, row_b, col_b), colour in zip(lines, colours, strict=False):
        patch = ConnectionPatch(
            (col_a, row_a),
            (col_b, row_b),
            coordsA="data",
            coordsB="data",
            axesA=axes[0, 0],
            axesB=axes[0, 1],
            color=colour,
            linewidth=1.2,
        )
        patch.set_in_layout(False)
        figure.add_artist(patch)
        axes[0, 0].plot(col_a, row_a, "o", color=colour, markersize=4)
        axes[0, 1].plot(col_b, row_b, "o", color=colour, markersize=4)
    return figure


def _subplots(rows: int, columns: int, height: float) -> tuple[Figure, Any]:
    with named_extras():
        from matplotlib.figure import Figure
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _erp_axis(erp: Picture) -> tuple[Figure, Axes]:
    figure, axes = _subplots(1, 1, _WIDTH / 2 * 1.1)
    axis = axes[0, 0]
    height, width = erp.shape[:2]
    axis.imshow(erp)
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    yaws, pitches = np.arange(-180, 181, 45), np.arange(90, -91, -45)
    axis.set_xticks((yaws / 360 + 0.5) * width - 0.5, labels=[f"{yaw}°" for yaw in yaws])
    axis.set_yticks((0.5 - pitches / 180) * height - 0.5, labels=[f"{pitch}°" for pitch in pitches])
    return figure, axis


def _draw_line(axis: Axes, directions: Tensor, erp: Picture, **style: Any) -> None:
    height, width = erp.shape[:2]
    for part in split_at_seam(sphere.erp_from_direction(directions, height, width).numpy(), width):
        axis.plot(part[:, 0], part[:, 1], **style)


def _label_direction(axis: Axes, direction: Tensor, erp: Picture, text: str, colour: Any) -> None:
    height, width = erp.shape[:2]
    x, y = sphere.erp_from_direction(direction, height, width).tolist()
    for shown in (x - width, x, x + width):  # a centre on the seam is labelled at both ends
        if -1 <= shown <= width:
            _label(axis, shown, y, text, colour)


def _label(axis: Axes, x: float, y: float, text: str, colour: Any) -> None:
    box = {"boxstyle": "round,pad=0.25", "facecolor": colour, "edgecolor": "black", "linewidth": 0.6}
    axis.text(x, y, text, ha="center", va="center", fontsize=9, color="black", bbox=box)
