"""Made-up surroundings of objects: patches of colour and texture at several scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refkp._extras import named_extras

with named_extras():
    import cv2

_LATTICES = (3, 6, 12, 25, 50, 100)  # cells along the longer side, from broad shades to grain
_MAX_SHAPES = 25


def draw_background(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture [H,W,3] of random colours, textures and edges; no two are alike.

    >>> picture = draw_background(np.random.default_rng(0), (48, 64))
    >>> picture.shape, picture.dtype.name
    ((48, 64, 3), 'uint8')
    """
    picture = _texture(rng, size)
    for _ in range(int(rng.integers(0, _MAX_SHAPES + 1))):
        mask = _shape(rng, size)
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        if len(rows):
            part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            inside = mask[part][..., None] > 0
            picture[part] = np.where(inside, _texture(rng, inside.shape[:2]), picture[part])
    return picture


def _texture(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A colour with noise of random strength at each scale."""
    height, width = size
    picture = np.tile((rng.uniform(30, 225) + rng.normal(0, 30, 3)).astype(np.float32), (height, width, 1))
    roughness = rng.uniform(0.3, 0.9)
    for octave, cells in enumerate(_LATTICES):
        strength = rng.uniform(0, 90) * roughness**octave
        grid = (max(2, cells * height // max(size)), max(2, cells * width // max(size)))
        lattice = rng.normal(0, strength, (*grid, 1)) * rng.uniform(0.5, 1, 3)
        picture += cv2.resize(lattice.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _shape(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask of a random ellipse, polygon or bar."""
    height, width = size
    mask = np.zeros(size, np.uint8)
    centre = (int(rng.integers(width)), int(rng.integers(height)))
    kind = int(rng.integers(3))
    if kind == 0:
        axes = tuple(int(axis) for axis in rng.integers(2, max(3, max(size) // 4), 2))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    elif kind == 1:
        corners = np.array(centre) + rng.normal(0, max(size) / 8, (int(rng.integers(3, 6)), 2))
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
    else:
        end = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.line(mask, centre, end, 1, int(rng.integers(1, max(2, max(size) // 20))))
    return mask
