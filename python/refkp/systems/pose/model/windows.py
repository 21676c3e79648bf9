"""Square windows of a token grid."""

from __future__ import annotations

from torch import Tensor

from refkp._checks import fail


def require_windows(function: str, grid: tuple[int, int], window: int) -> None:
    """Raise ValueError unless windows of side `window` fill the grid."""
    if window < 1 or grid[0] % window or grid[1] % window:
        remedy = "Choose `window` among the divisors of image_size / patch_size."
        fail(function, "window", f"a divisor of both sides of the grid {grid}", window, remedy)


def to_windows(tokens: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """[...,N,C] -> [...,windows,window*window,C], both row after row."""
    rows, columns = grid
    grid_form = tokens.unflatten(-2, (rows // window, window, columns // window, window))
    return grid_form.transpose(-3, -4).flatten(-3, -2).flatten(-4, -3)


def from_windows(windows: Tensor, grid: tuple[int, int], window: int) -> Tensor:
    """The inverse of `to_windows`."""
    rows, columns = grid
    split = windows.unflatten(-2, (window, window)).unflatten(-4, (rows // window, columns // window))
    return split.transpose(-3, -4).flatten(-5, -2)
