"""Smoothing of triangulated tracks over time: what a point cannot do from frame to frame is noise."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, require_shape, require_trailing
from refkp.geometry.banded import second_differences, solve_coupled

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
    stiffness = deviation.square().reciprocal()[:, None, None] * torch.eye(3).double()
    right = precision @ flat[..., None]
    tracks = solve_coupled(precision, right, stiffness, second_differences(num_frames))[..., 0]
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
