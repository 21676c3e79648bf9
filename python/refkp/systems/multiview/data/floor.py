"""What stands behind an animal: a floor of tiles, which tells how a camera stands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Tiles along an edge of the pattern, which repeats; and rays for each pixel along either axis.
_TILES, _RAYS = 8, 2


def tile_colours(rng: np.random.Generator) -> np.ndarray:
    """Dark colours of the tiles, float64 [8,8,3] in 0..255."""
    return rng.uniform(15, 75, (_TILES, _TILES, 1)) + rng.uniform(0, 40, (_TILES, _TILES, 3))


def floor_picture(
    K: np.ndarray, R: np.ndarray, t: np.ndarray, size: int, colours: np.ndarray, tile: float, height: float
) -> NDArray[np.uint8]:
    """The floor z = `height` as a camera sees it, uint8 [size,size,3]; black above the horizon.

    Args:
        K, R, t: [3,3], [3,3], [3]; camera from world.
        size: side of the picture in pixels.
        colours: of the tiles (`tile_colours`).
        tile: side of a tile, in the unit of t.
        height: of the floor.
    """
    edges = (np.arange(size * _RAYS) + 0.5) / _RAYS
    pixels = np.stack((*np.meshgrid(edges, edges), np.ones((len(edges),) * 2)), -1)
    directions = pixels @ np.linalg.inv(K).T @ R
    centre = -R.T @ t
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = (height - centre[2]) / directions[..., 2]
    hit = np.isfinite(reach) & (reach > 0)
    ground = centre[:2] + np.where(hit, reach, 0.0)[..., None] * directions[..., :2]
    column, row = np.moveaxis(np.floor(ground / tile).astype(np.int64) % _TILES, -1, 0)
    picture = np.where(hit[..., None], colours[row, column], 0.0)
    picture = picture.reshape(size, _RAYS, size, _RAYS, 3).mean((1, 3))
    return np.round(picture).astype(np.uint8)
