"""What a surface looks like at a point of it: the colour of its texture, and a smooth normal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Faces that meet at a larger angle have an edge between them that is meant to be seen.
CREASE_DEG = 40.0


def texture_colours(texture: NDArray[np.uint8], uv: Array) -> Array:
    """Bilinear lookup in a texture, texel centres at +0.5.

    Coordinates outside [0,1] repeat the texture; a texel is never mixed with that of the opposite border unless
    they do.

    Args:
        texture: uint8 [h,w,3].
        uv: [n,2], u to the right, v up: (0,0) is the lower left corner of the texture.

    Returns:
        [n,3] in 0..255.
    """
    height, width = texture.shape[:2]
    inside = uv.min(initial=0) >= 0 and uv.max(initial=0) <= 1
    x, y = uv[:, 0] * width - 0.5, (1 - uv[:, 1]) * height - 0.5
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, low = x - column, y - row
    columns, rows = np.stack((column, column + 1)), np.stack((row, row + 1))
    if inside:
        columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    else:
        columns, rows = columns % width, rows % height
    texels = [3 * (width * row + column) for row in rows for column in columns]
    values, colours = texture.reshape(-1), np.empty((len(uv), 3))
    for channel in range(3):  # one by one, which numpy is much faster at
        corners = [values.take(texel + channel).astype(np.float64) for texel in texels]
        top = corners[0] * (1 - right) + corners[1] * right
        bottom = corners[2] * (1 - right) + corners[3] * right
        colours[:, channel] = top * (1 - low) + bottom * low
    return colours


def corner_normals(corners: Array) -> Array:
    """Normals of triangles at their corners, smooth except across creases.

    At a corner it is the area-weighted mean of the normals of those triangles around its position that turn by
    less than `CREASE_DEG` from its own.

    Args:
        corners: [F,3,3], the three points of every triangle.

    Returns:
        [F,3,3] unit vectors; 0 for a triangle without area.
    """
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    units = areas / np.maximum(np.linalg.norm(areas, axis=1, keepdims=True), 1e-30)
    _, point = np.unique(corners.reshape(-1, 3).round(6), axis=0, return_inverse=True)
    point = point.reshape(-1)  # [3F], which position each corner is at
    # All pairs (corner, triangle around its position).
    order = np.argsort(point, kind="stable")
    num_around = np.bincount(point)
    first = np.concatenate(([0], num_around.cumsum()))[point]
    pairs = num_around[point]
    corner = np.repeat(np.arange(len(point)), pairs)
    step = np.arange(len(corner)) - np.repeat(pairs.cumsum() - pairs, pairs)
    other = order[first[corner] + step] // 3
    smooth = np.einsum("pi,pi->p", units[corner // 3], units[other]) > np.cos(np.radians(CREASE_DEG))
    corner, other = corner[smooth], other[smooth]
    normals: Array = np.stack(
        [np.bincount(corner, areas[other, axis], len(point)).astype(np.float64) for axis in range(3)], -1
    )
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    return normals.reshape(-1, 3, 3)
