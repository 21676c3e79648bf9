"""Where the stored picture lies in the raw one: whole pixels, and the affine map that they give.

Pixels are continuous, with the origin at the outer corner of the top-left pixel.

Source: spec multiview b.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from refkp.systems.multiview.preprocessing.spec import Crop

#: A square around an animal of which one point is seen must have a size.
LEAST_SIDE = 32


class Box(NamedTuple):
    """A rectangle in whole pixels; it may reach beyond the picture."""

    x: int
    y: int
    width: int
    height: int

    def affine(self, size: int) -> np.ndarray:
        """The map that brings the box to size x size: float64 [2,3], stored pixel from raw pixel."""
        by_x, by_y = size / self.width, size / self.height
        return np.array([[by_x, 0, -self.x * by_x], [0, by_y, -self.y * by_y]])


def crop_box(crop: Crop, picture: tuple[int, int], xy: np.ndarray, margin: float) -> Box:
    """What is stored of a picture of (width, height) in which the animal's points are xy [J,2]; NaN where missing.

    Around the animal: the smallest square of whole pixels with the margin on each side. It is not clamped to the
    picture, since a part of a square would be stretched.
    """
    width, height = picture
    if crop == "whole":
        return Box(0, 0, width, height)
    if crop == "centred":
        side = min(width, height)
        return Box((width - side) // 2, (height - side) // 2, side, side)
    seen = xy[np.isfinite(xy).all(-1)]
    low, high = seen.min(0), seen.max(0)
    room = margin * (high - low).max()
    first, end = np.floor(low - room).astype(int), np.ceil(high + room).astype(int)
    side = max(LEAST_SIDE, int((end - first).max()))
    x, y = first - (side - (end - first)) // 2
    return Box(int(x), int(y), side, side)


def moved(affine: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Points [...,J,2] moved by maps [...,2,3]."""
    return np.einsum("...ij,...nj->...ni", affine[..., :2], xy) + affine[..., None, :, 2]


def moved_intrinsics(affine: np.ndarray, K: np.ndarray) -> np.ndarray:
    """The camera matrices of moved pictures, A K: [...,3,3] from maps [...,2,3] and [...,3,3]."""
    return np.concatenate((affine @ K, np.broadcast_to(K[..., 2:, :], (*affine.shape[:-2], 1, 3))), -2)


def normalised_yx(xy: np.ndarray, size: int) -> np.ndarray:
    """Pixels (x, y) of a stored picture as files have them: (y, x) in its sides, zeros where missing."""
    there = np.isfinite(xy).all(-1, keepdims=True)
    return np.where(there, xy[..., ::-1] / size, 0.0).astype(np.float32)
