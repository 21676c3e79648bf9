"""Tokens that know which part of their view they look at."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Grid = tuple[int, int]  # rows, columns


class ViewTokens(NamedTuple):
    """Tokens of views and the box of the view that each looks at, the same for all views.

    Boxes are (left, top, right, bottom) in [0,1], x to the right and y down, as the letterbox of a layout.
    """

    tokens: Tensor  # [...,S,D]
    boxes: Tensor  # float64 [S,4] on the CPU
    grid: Grid | None  # rows and columns of S tokens in raster order; None where they form no grid


def cell_boxes(grid: Grid, pooled: Grid | None = None) -> Tensor:
    """The boxes [Gh*Gw,4] (float64) of the cells of a grid in raster order.

    With `pooled`, those of the windows of `torch.nn.functional.adaptive_avg_pool2d` from `grid` to `pooled`, which
    share tokens where the sizes do not divide.

    >>> cell_boxes((1, 2)).tolist()
    [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]
    """
    pooled = grid if pooled is None else pooled
    (top, bottom), (left, right) = (_edges(size, cells) for size, cells in zip(grid, pooled, strict=True))
    row, column = torch.meshgrid(torch.arange(pooled[0]), torch.arange(pooled[1]), indexing="ij")
    return torch.stack((left[column], top[row], right[column], bottom[row]), -1).flatten(0, 1)


def _edges(size: int, cells: int) -> tuple[Tensor, Tensor]:
    """Start and end [cells] of each window over `size` tokens, as parts of the whole."""
    index = torch.arange(cells)
    start = index * size // cells
    end = -(-(index + 1) * size // cells)
    return start.double() / size, end.double() / size


def whole_view_boxes(count: int) -> Tensor:
    """The boxes [count,4] of tokens that look at the whole view."""
    return torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(count, 4)
