"""A rendered object on the picture it is meant to be in: shading, outline, names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refkp._checks import fail

Picture = NDArray[np.uint8]  # [h,w,3]


def blend(picture: Picture, rendering: Picture, mask: NDArray[np.bool_], alpha: float = 0.6) -> Picture:
    """The picture with the rendering over it where the mask is; alpha is the share of the rendering.

    Raises:
        ValueError: sizes that differ, or `alpha` outside [0,1].
    """
    if rendering.shape != picture.shape or mask.shape != picture.shape[:2]:
        got = f"{list(rendering.shape)} and {list(mask.shape)}"
        fail("blend", "rendering", f"of the size of `picture` {list(picture.shape)}, as `mask`", got)
    if not 0 <= alpha <= 1:
        fail("blend", "alpha", "in [0,1]", alpha)
    mixed = (1 - alpha) * picture + alpha * rendering
    return np.where(mask[..., None], mixed.round(), picture).astype(np.uint8)


def outline(mask: NDArray[np.bool_], width: int = 2) -> NDArray[np.bool_]:
    """[h,w]: the pixels within `width` of the border of the mask, on its outside; nothing is drawn on the object.

    >>> outline(np.array([[0, 0, 0, 1, 1]], dtype=bool), width=2).astype(int)
    array([[0, 1, 1, 0, 0]])
    """
    if width < 1:
        fail("outline", "width", "at least 1", width)
    grown = mask
    for _ in range(width):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~mask


def paint(picture: Picture, mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> Picture:
    """The picture with one colour where the mask is."""
    painted: NDArray[Any] = np.where(mask[..., None], np.array(colour, np.uint8), picture)
    return painted
