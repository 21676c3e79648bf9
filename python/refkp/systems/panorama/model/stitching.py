"""The order in which the tokens of all views become one sequence, and the blend of overlapping tiles.

Source: spec panorama 4.1 (stitching) and 7.20 (weights of the blend), golden `view_stitch`.
"""

from __future__ import annotations

import functools
import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_shape
from refkp.geometry import sphere
from refkp.systems.panorama.views.layout import ErpLayout

Grid = tuple[int, int]  # rows, columns


def stitch_order(
    num_views: int, grid: Grid, mode: Literal["concat", "stride_views"], overlap: float = 0.0
) -> Tensor:
    """The tokens of a stitched row of views: int64 [T] flat indices v * Gh * Gw + row * Gw + column.

    "concat" orders by row, then view, then column. "stride_views" is the same without the first
    k = round(Gw overlap), half to even, columns of every view but the first.

    >>> stitch_order(2, (2, 2), "concat").tolist()
    [0, 1, 4, 5, 2, 3, 6, 7]
    >>> stitch_order(2, (2, 2), "stride_views", 0.5).tolist()
    [0, 1, 5, 2, 3, 7]
    """
    require_choice("stitch_order", "mode", mode, ("concat", "stride_views"))
    if not 0 <= overlap < 1:
        fail("stitch_order", "overlap", "in [0,1)", overlap)
    height, width = grid
    index = torch.arange(num_views * height * width).view(num_views, height, width).transpose(0, 1)
    if mode == "concat":
        return index.flatten()
    dropped = round(width * overlap)
    return torch.cat((index[:, :1].flatten(1), index[:, 1:, dropped:].flatten(1)), 1).flatten()


def stitch_views(
    tokens: Tensor, grid: Grid, mode: Literal["concat", "stride_views"], overlap: float = 0.0
) -> Tensor:
    """The tokens [B,V,Gh*Gw,D] of a row of views as one sequence [B,T,D], in the order of `stitch_order`.

    Gradients reach `tokens`.

    Raises:
        ValueError: tokens that do not fill the grid, an overlap outside [0,1).
    """
    require_shape("stitch_views", "tokens", tokens, "B,V,S,D", S=grid[0] * grid[1])
    order = stitch_order(tokens.shape[1], grid, mode, overlap)
    return tokens.flatten(1, 2)[:, order.to(tokens.device)]


class BlendGrid(NamedTuple):
    """Directions on a common grid, and how tile tokens are blended there."""

    directions: Tensor  # float64 [T,3], in the frame of the tiles
    weights: Tensor  # float32 [T,N*S], each row sums to one


@functools.lru_cache(maxsize=16)
def blend_grid(layout: ErpLayout, grid: Grid, height: int | None = None) -> BlendGrid:
    """The directions of an ERP grid that a tile sees, and weights that blend the tiles' tokens there.

    A tile's value is bilinear between its token centres, and the border token's beyond the last centre. Its
    weight is the product of its relative distances to the four sides, so that tiles fade in and out; the
    weights of all tiles at a direction are divided by their sum once.

    Args:
        layout: the views; a global view takes no part.
        grid: tokens (rows, columns) of a tile.
        height: rows of the ERP grid, with twice as many columns; None takes the angular size of a token in
            the middle of the first tile.

    Raises:
        ValueError: a layout without tiles.
    """
    if not layout.tiles:
        fail("blend_grid", "layout", "one with tiles", f"{layout.num_views} other views")
    rotation, limit = layout.rotations, layout.half_tangents
    if height is None:
        token = 2 * math.atan(float(limit[0, 1]) / grid[0])
        height = max(1, round(math.pi / token))
    directions = sphere.erp_directions(height, 2 * height).flatten(0, 1)
    ray = torch.einsum("nji,tj->tni", rotation, directions)
    inside = sphere.tile_contains(rotation, limit, directions).T
    depth = torch.where(inside, ray[..., 2], 1.0)
    unit = ray[..., :2] / depth[..., None] / limit  # [T,N,2] in [-1,1] where inside, x right and y up
    fade = ((1 - unit.abs()).clamp_min(1e-6)).prod(-1) * inside
    row, column = ((1 - unit[..., 1]) / 2 * grid[0] - 0.5), ((1 + unit[..., 0]) / 2 * grid[1] - 0.5)
    bilinear = _tent(row, grid[0])[..., :, None] * _tent(column, grid[1])[..., None, :]  # [T,N,Gh,Gw]
    seen = inside.any(-1)
    fade = fade[seen] / fade[seen].sum(-1, keepdim=True)
    weights = fade[..., None] * bilinear[seen].flatten(-2)
    return BlendGrid(directions[seen], weights.flatten(1).float())


def _tent(position: Tensor, count: int) -> Tensor:
    """Linear weights [...,count] of a position [...] between integer centres; the outer ones reach beyond."""
    centre = torch.arange(count, dtype=position.dtype)
    return (1 - (position.clamp(0, count - 1)[..., None] - centre).abs()).clamp_min(0)
