"""Matches of patches between two pictures: tints that carry places over, hatching, lines, arrows of one pair.

Axes have pixel coordinates: the centre of pixel (row i, column j) is at (j + 0.5, i + 0.5). Patch n of a grid
is at row n // columns, column n % columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refkp._extras import named_extras

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.floating[Any]]
Picture = NDArray[np.uint8]  # [h,w,3]

#: The colours of a box's corners: top left, top right, bottom left, bottom right.
_CORNERS = np.array([[[0.10, 0.45, 0.95], [1.00, 0.85, 0.05]], [[0.75, 0.10, 0.75], [0.95, 0.20, 0.10]]])


def place_colours(places: Array) -> NDArray[np.float64]:
    """[...,3] RGB in [0,1] of places [...,2] in the unit square, x first: a blend of four corner colours."""
    x, y = (np.clip(places[..., axis, None], 0, 1) for axis in (0, 1))
    top = (1 - x) * _CORNERS[0, 0] + x * _CORNERS[0, 1]
    bottom = (1 - x) * _CORNERS[1, 0] + x * _CORNERS[1, 1]
    return (1 - y) * top + y * bottom


def show_picture(axis: Axes, picture: Picture, title: str) -> None:
    """The picture in pixel coordinates, without ticks, under its title."""
    height, width = picture.shape[:2]
    axis.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    axis.set_title(title, fontsize=11)
    axis.set_xticks([])
    axis.set_yticks([])


def tint_patches(axis: Axes, colours: Array, shown: NDArray[np.bool_], patch_size: int, alpha: float) -> None:
    """Lay colours [rows,columns,3] over the patches that are `shown` [rows,columns]."""
    rows, columns = shown.shape
    layer = np.concatenate((colours, alpha * shown[..., None]), -1)
    extent = (0, columns * patch_size, rows * patch_size, 0)
    axis.imshow(layer, extent=extent, interpolation="nearest")


def hatch_patches(axis: Axes, patches: Sequence[tuple[int, int]], patch_size: int) -> None:
    """Hatch the patches (row, column)."""
    with named_extras():
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle
    boxes = [Rectangle((c * patch_size, r * patch_size), patch_size, patch_size) for r, c in patches]
    for back, front in (("black", 2.0), ("white", 0.8)):  # white lines on black ones show on any picture
        style: dict[str, Any] = {"facecolor": "none", "edgecolor": back, "linewidth": 0.0, "hatch": "////"}
        axis.add_collection(PatchCollection(boxes, hatch_linewidth=front, **style))


def frame_patch(axis: Axes, row: int, column: int, patch_size: int, colour: Any) -> None:
    """A frame around one patch."""
    with named_extras():
        from matplotlib.patches import Rectangle
    for line, width in (("black", 4.0), (colour, 2.2)):
        box = Rectangle((column * patch_size, row * patch_size), patch_size, patch_size, fill=False)
        box.set(edgecolor=line, linewidth=width)
        axis.add_patch(box)


def connect(figure: Figure, axes: tuple[Axes, Axes], places: tuple[Array, Array], colour: Any) -> None:
    """A line from a place [2] in the one axis to a place [2] in the other, with a dot at either end."""
    with named_extras():
        from matplotlib.patches import ConnectionPatch
        from matplotlib.patheffects import withStroke
    (x0, y0), (x1, y1) = places
    line = ConnectionPatch((x0, y0), (x1, y1), "data", "data", axesA=axes[0], axesB=axes[1])
    line.set(color=colour, linewidth=1.8, path_effects=[withStroke(linewidth=3.0, foreground="black")])
    line.set_in_layout(False)
    figure.add_artist(line)
    for axis, (x, y) in zip(axes, places, strict=True):
        axis.plot(x, y, "o", color=colour, markersize=5, markeredgecolor="black", markeredgewidth=0.8)


def spread_choice(score: Array, places: Array, count: int) -> NDArray[np.int64]:
    """The indices of up to `count` high scores [n] whose places [n,2] keep a distance, best first.

    The distance is that of `count` places spread evenly over the box of all; equal scores are drawn from.

    >>> spread_choice(np.array([0.9, 0.8, 0.5]), np.array([[0.0, 0], [1, 0], [9, 9]]), 2)
    array([0, 2])
    """
    if not len(score):
        return np.zeros(0, np.int64)
    extent = np.ptp(places, axis=0)
    spacing = 0.7 * np.sqrt(max(extent[0], 1.0) * max(extent[1], 1.0) / count)
    chosen: list[int] = []
    shuffled = np.random.default_rng(0).permutation(
        len(score)
    )  # else equal scores are chosen from the top down
    for index in shuffled[np.argsort(-score[shuffled], kind="stable")]:
        distances = np.linalg.norm(places[chosen] - places[index], axis=-1)
        if (distances >= spacing).all():
            chosen.append(int(index))
        if len(chosen) == count:
            break
    return np.array(chosen, np.int64)


def draw_arrows(axis: Axes, start: Array, end: Array, confidence: Array) -> Any:
    """Arrows from places [n,2] to places [n,2], coloured by confidence [n] in [0,1]; returns them for a colour bar."""
    with named_extras():
        from matplotlib.patheffects import withStroke
    step = end - start
    arrows = axis.quiver(
        *start.T,
        *step.T,
        confidence,
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.006,
        cmap="viridis",
        clim=(0, 1),
    )
    arrows.set_path_effects([withStroke(linewidth=1.2, foreground="black")])
    return arrows
