"""Smoothing of triangulated tracks over time: what a point cannot do from frame to frame is noise."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, require_shape, require_trailing

#: Median of the mean of three squared standard normals.
MEDIAN_MEAN_OF_THREE = 0.7887
#: An estimated acceleration is at least this share of the noise of a second difference.
LEAST_ACCELERATION = 0.05


@torch.no_grad()
def smooth(points: Tensor, covariance: Tensor, *, acceleration: float | None = None) -> Tensor:
    """The most likely tracks of points with known covariance whose acceleration is small.

    Minimises sum_t (x_t - p_t)^T C_t^-1 (x_t - p_t) + sum_t |x_{t-1} - 2 x_t + x_{t+1}|^2 / s^2, a banded
    system, solved in float64 by a Cholesky factorisation of blocks. Missing points are filled in.

    Args:
        points: [T,...,3], float, one frame after the other; NaN: missing.
        covariance: [T,...,3,3], as `triangulate` gives it; NaN: missing.
        acceleration: s, the standard deviation of a second difference per axis, in the unit of the points
            per frame^2. None: estimated for each track from what its second differences have beyond noise.

    Returns:
        [T,...,3]; NaN throughout where a track has fewer than two points.

    Raises:
        ValueError: shapes do not fit, or `acceleration` is not above 0.

    Source: spec multiview i.
    """
    require_trailing("smooth", "points", points, "3")
    require_shape("smooth", "covariance", covariance, ",".join(map(str, (*points.shape, 3))))
    if acceleration is not None and not acceleration > 0:
        fail("smooth", "acceleration", "above 0", acceleration)
    num_frames = len(points)
    flat, spread = (
        points.reshape(num_frames, -1, 3).double(),
        covariance.reshape(num_frames, -1, 3, 3).double(),
    )
    seen = torch.isfinite(flat).all(-1) & torch.isfinite(spread).all(-1).all(-1)
    enough = seen.sum(0) >= 2
    flat, spread = (
        flat.where(seen[..., None], 0.0),
        spread.where(seen[..., None, None], torch.eye(3).double()),
    )
    if acceleration is None:
        deviation = _acceleration(flat, spread, seen)
    else:
        deviation = flat.new_full((flat.shape[1],), acceleration)
    precision = torch.linalg.inv(spread) * (seen & enough)[..., None, None]
    # A track without points gets one at every frame, so that the system has a solution; it is thrown away.
    precision = torch.where(enough[:, None, None], precision, torch.eye(3).double())
    tracks = _solve(precision, flat, deviation.square().reciprocal())
    return tracks.where(enough[:, None], torch.nan).reshape(points.shape).to(points.dtype)


def _acceleration(points: Tensor, covariance: Tensor, seen: Tensor) -> Tensor:
    """The deviation of second differences [M], from the median of their squares less their noise."""
    if len(points) < 3:
        return points.new_ones(points.shape[1])
    known = seen[:-2] & seen[1:-1] & seen[2:]
    squared = (points[:-2] - 2 * points[1:-1] + points[2:]).square().mean(-1)
    variances = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    noise = variances[:-2] + 4 * variances[1:-1] + variances[2:]
    typical = squared.where(known, torch.nan).nanmedian(0).values / MEDIAN_MEAN_OF_THREE
    expected = noise.where(known, torch.nan).nanmedian(0).values
    variance = torch.maximum(typical - expected, LEAST_ACCELERATION * expected)
    return variance.where(torch.isfinite(variance) & (variance > 0), 1.0).sqrt()


def _solve(precision: Tensor, points: Tensor, stiffness: Tensor) -> Tensor:
    """Solve the block system with bandwidth two, [T,M,3,3] precision and [T,M,3] points, [M] stiffness."""
    num_frames = len(points)
    diagonal, first, second = _bands(num_frames)
    identity = stiffness[:, None, None] * torch.eye(3).double()
    factors: list[Tensor] = []  # of the diagonal blocks
    before: list[Tensor] = []  # blocks one and two to the left of the diagonal
    before_2: list[Tensor] = []
    halves: list[Tensor] = []
    for t in range(num_frames):
        block = precision[t] + diagonal[t] * identity
        right = precision[t] @ points[t][..., None]
        left_2 = (
            _right_solve(factors[t - 2], second[t - 2] * identity) if t > 1 else torch.zeros_like(identity)
        )
        left = torch.zeros_like(identity)
        if t > 0:
            left = _right_solve(factors[t - 1], first[t - 1] * identity - left_2 @ before[t - 1].mT)
            block = block - left @ left.mT - left_2 @ left_2.mT
            right = right - left @ halves[t - 1] - (left_2 @ halves[t - 2] if t > 1 else 0.0)
        factors.append(torch.linalg.cholesky(block))
        halves.append(torch.linalg.solve_triangular(factors[t], right, upper=False))
        before.append(left)
        before_2.append(left_2)
    return _back_substitute(factors, before, before_2, halves)


def _back_substitute(
    factors: list[Tensor], before: list[Tensor], before_2: list[Tensor], halves: list[Tensor]
) -> Tensor:
    solved: list[Tensor] = [torch.empty(0)] * len(factors)
    for t in reversed(range(len(factors))):
        right = halves[t]
        if t + 1 < len(factors):
            right = right - before[t + 1].mT @ solved[t + 1]
        if t + 2 < len(factors):
            right = right - before_2[t + 2].mT @ solved[t + 2]
        solved[t] = torch.linalg.solve_triangular(factors[t].mT, right, upper=True)
    return torch.stack(solved)[..., 0]


def _right_solve(factor: Tensor, block: Tensor) -> Tensor:
    """block factor^-T for a lower triangular factor."""
    return torch.linalg.solve_triangular(factor, block.mT, upper=False).mT


def _bands(num_frames: int) -> tuple[list[float], list[float], list[float]]:
    """The diagonal and the two bands beside it of D^T D, where D takes second differences."""
    diagonal, first, second = [0.0] * num_frames, [0.0] * (num_frames - 1), [0.0] * (num_frames - 2)
    for t in range(num_frames - 2):
        for offset, value in enumerate((1.0, 4.0, 1.0)):
            diagonal[t + offset] += value
        first[t] -= 2.0
        first[t + 1] -= 2.0
        second[t] += 1.0
    return diagonal, first, second
