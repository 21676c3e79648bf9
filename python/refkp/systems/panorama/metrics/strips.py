"""What the strips of `losses.strips` pair in truth. Source: spec panorama 3.4 (why strips are not the overlap)."""

from __future__ import annotations

import torch

from refkp.systems.panorama.overlaps.correspondence import project_tokens
from refkp.systems.panorama.views.layout import ErpLayout


def strip_hit_rate(layout: ErpLayout, grid: tuple[int, int], overlap_ratio: float) -> float:
    """Part of the token pairs of `losses.sequential_strips` that lie within half a token of each other.

    Args:
        layout: the strips run through its tiles in order, closed to a ring.
        grid: tokens (rows, columns) of a tile.
        overlap_ratio: part of a tile that its strip takes, as in `sequential_strips`.
    """
    columns = max(1, int(grid[1] * overlap_ratio))
    rotation, half_tangent = layout.rotations, layout.half_tangents
    following = [tensor.roll(-1, 0) for tensor in (rotation, half_tangent)]
    projection = project_tokens(rotation, following[0], half_tangent, following[1], grid)
    strip = (slice(None), slice(None), slice(grid[1] - columns, None))
    row, column = torch.meshgrid(torch.arange(grid[0]), torch.arange(columns), indexing="ij")
    error = torch.hypot(projection.row[strip] - row, projection.col[strip] - column)
    return float((error <= 0.5).double().mean())  # NaN, behind the partner, is no hit
