"""Rotary codes of a pixel grid: half of the channels turn with the row, half with the column."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, require_trailing
from refkp.nn.rotary import Rotary, rotary


def rope2d(tokens: Tensor, positions: Tensor, *, base: float = 100.0, scale: float = 1.0) -> Tensor:
    """Turn the tokens of a grid by their position.

    The first D/2 channels turn with the row, the last D/2 with the column. In each half, pair k < D/4 is
    (k, k + D/4) and its angle is scale * position * base^(-k / (D/4)); (a, b) -> (a cos - b sin, b cos + a sin).
    Scale -1 undoes scale 1. Nothing is written in place, and tokens may have any strides.

    Args:
        tokens: [...,h,N,D], D a multiple of 4; half precision is computed in float32.
        positions: [...,N,2] row and column.
        base: of the frequencies; 100 in CroCo v2.
        scale: of the angles.

    Returns:
        The shape and dtype of `tokens`; gradients reach them.

    Raises:
        ValueError: D is no multiple of 4, positions without two coordinates.

    Source: spec pose 1.2.

    >>> tokens = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])  # h = 1, N = 1, D = 4
    >>> rope2d(tokens, torch.tensor([[0, 1]]), scale=torch.pi).round().tolist()  # half a turn with the column
    [[[1.0, 2.0, -3.0, -4.0]]]
    """
    dtype = tokens.dtype if tokens.dtype == torch.float64 else torch.float32
    return grid_rotary(positions, tokens.shape[-1], base=base, scale=scale, dtype=dtype)(tokens)


def grid_rotary(
    positions: Tensor,
    head_dim: int,
    *,
    base: float = 100.0,
    scale: float = 1.0,
    mask: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Rotary:
    """The code of `rope2d` for tokens [...,h,N,head_dim], made once for all layers.

    Args:
        positions: [...,N,2] row and column; an axis for the heads is put before N.
        head_dim: D, a multiple of 4.
        base, scale: as in `rope2d`.
        mask: bool [...,N]; False leaves a token as it is.
        dtype: of the angles.
    """
    require_trailing("rope2d", "positions", positions, "N,2")
    if head_dim % 4:
        remedy = "Choose the number of heads so that dim / heads is a multiple of 4."
        fail("rope2d", "tokens", "[...,N,D] with D a multiple of 4", f"D={head_dim}", remedy)
    pairs = head_dim // 4
    exponent = torch.arange(pairs, device=positions.device, dtype=dtype) / pairs
    angles = positions.to(dtype)[..., None] * (scale * base**-exponent)
    mask = None if mask is None else mask.unsqueeze(-2)
    return rotary(angles.unsqueeze(-4), interleaved=False, mask=mask)


def grid_positions(grid: tuple[int, int], device: torch.device | str | None = None) -> Tensor:
    """(row, column) of the tokens of a grid, int64 [rows*columns,2], row after row.

    >>> grid_positions((2, 2)).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    axes = (torch.arange(size, device=device) for size in grid)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 1)
