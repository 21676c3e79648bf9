"""The largest distance between two of many points, exactly, in seconds for millions.

Points are halved into a tree of boxes, and pairs of boxes are followed down as long as they can hold a pair longer
than the longest one known. Two bounds decide, for boxes A and B of points p and q seen from a common middle:

    |p - q|   <= the largest distance of corners of A and B
    |p - q|^2  = 2 |p|^2 + 2 |q|^2 - |p + q|^2 <= 2 max |p|^2 + 2 max |q|^2 - (distance of A from -B)^2

The first is sharp for long bodies. The second is for round ones, where every point ends a long pair, but only
together with the few points across the middle.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_LEAF = 16  # points
_PAIRS_AT_ONCE = 2_000_000  # distances held in memory
_SLACK = 1e-12  # of squared distances: what rounding may hide


class _Boxes(NamedTuple):
    """The boxes of one level of the tree."""

    low: Array  # [n,3]
    high: Array  # [n,3]
    reach: Array  # [n], largest squared distance from the middle
    outermost: Array  # [n,3], the point that has it


def largest_distance(points: Array) -> float:
    """The largest distance between two of the points [n,3], n at least 1, to 12 digits.

    >>> largest_distance(np.array([[0.0, 0, 0], [0, 4, 0], [3, 0, 0]]))
    5.0
    """
    points = points - points.mean(0)
    start, end = _far_pair(points)
    known = float(((start - end) ** 2).sum())
    across = points - (start + end) / 2
    points = min(points, across, key=lambda centred: float((centred**2).sum(1).max()))
    radii = np.linalg.norm(points, axis=1)
    points = points[radii + radii.max() >= known**0.5 * (1 - _SLACK)]
    leaves = _leaves(points)
    levels = _levels(leaves)
    first = second = np.zeros(1, np.int64)
    bound = np.full(1, np.inf)
    for boxes in levels[1:]:
        first, second = _children(first, second)
        bound = _bound(boxes, first, second)
        pairs = boxes.outermost[first] - boxes.outermost[second]
        known = max(known, float((pairs**2).sum(1).max(initial=0)))
        keep = bound > known * (1 + _SLACK)
        first, second, bound = first[keep], second[keep], bound[keep]
    return _longest(leaves, first, second, bound, known) ** 0.5


def _far_pair(points: Array) -> tuple[Array, Array]:
    """Two points far apart: from the one farthest from the middle, to the farthest, as long as that gains."""
    start, longest = points[(points**2).sum(1).argmax()], -1.0
    while True:
        distances = ((points - start) ** 2).sum(1)
        end = points[distances.argmax()]
        if distances.max() <= longest:
            return start, end
        start, longest = end, float(distances.max())


def _leaves(points: Array) -> Array:
    """[2^k,m,3]: halved k times along the longest side of each box; the last point fills what is left over."""
    depth = max(0, int(np.ceil(np.log2(len(points) / _LEAF))))
    size = -(-len(points) // 2**depth)
    boxes = np.concatenate((points, np.repeat(points[-1:], size * 2**depth - len(points), axis=0)))[None]
    for _ in range(depth):
        axis = (boxes.max(1) - boxes.min(1)).argmax(1)
        along = np.take_along_axis(boxes, axis[:, None, None], 2)
        order = along[..., 0].argpartition(boxes.shape[1] // 2, axis=1)
        boxes = np.take_along_axis(boxes, order[..., None], 1).reshape(2 * len(boxes), -1, 3)
    return boxes


def _levels(leaves: Array) -> list[_Boxes]:
    """The boxes of every level, from the root to the leaves; those of a level lie in pairs."""
    squares = (leaves**2).sum(2)
    far = squares.argmax(1)
    rows = np.arange(len(leaves))
    levels = [_Boxes(leaves.min(1), leaves.max(1), squares[rows, far], leaves[rows, far])]
    while len(levels[0].low) > 1:
        low, high, reach, outermost = levels[0]
        rows, far = np.arange(len(low) // 2), reach.reshape(-1, 2).argmax(1)
        levels.insert(
            0,
            _Boxes(
                low.reshape(-1, 2, 3).min(1),
                high.reshape(-1, 2, 3).max(1),
                reach.reshape(-1, 2)[rows, far],
                outermost.reshape(-1, 2, 3)[rows, far],
            ),
        )
    return levels


def _children(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of halves of pairs of boxes, each once."""
    first = (2 * first[:, None] + (0, 0, 1, 1)).reshape(-1)
    second = (2 * second[:, None] + (0, 1, 0, 1)).reshape(-1)
    once = first <= second
    return first[once], second[once]


def _bound(boxes: _Boxes, first: NDArray[np.int64], second: NDArray[np.int64]) -> Array:
    """What the squared distance of a point of one box and a point of the other is at most."""
    low, high = boxes.low[first], boxes.high[first]
    other_low, other_high = boxes.low[second], boxes.high[second]
    corners: Array = (np.maximum(high - other_low, other_high - low) ** 2).sum(1)
    gap = np.maximum(0, np.maximum(low + other_low, -high - other_high))
    return np.minimum(corners, 2 * (boxes.reach[first] + boxes.reach[second]) - (gap**2).sum(1))


def _longest(
    leaves: Array, first: NDArray[np.int64], second: NDArray[np.int64], bound: Array, known: float
) -> float:
    """The largest squared distance: pairs of leaves with the largest bounds first, until no bound is larger."""
    order = bound.argsort()[::-1]
    step = max(1, _PAIRS_AT_ONCE // leaves.shape[1] ** 2)
    for start in range(0, len(order), step):
        part = order[start : start + step]
        if bound[part[0]] <= known * (1 + _SLACK):
            break
        between = leaves[first[part]][:, :, None] - leaves[second[part]][:, None]
        known = max(known, float((between**2).sum(-1).max()))
    return known
