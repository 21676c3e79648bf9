"""Smoothing of tracks of points over time."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, require_shape, require_trailing
from refkp.geometry.banded import second_differences, solve_coupled
from refkp.geometry.smoothing.acceleration import acceleration_deviation


@torch.no_grad()
def smooth_points(points: Tensor, covariance: Tensor, *, acceleration: float | None = None) -> Tensor:
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
    require_trailing("smooth_points", "points", points, "3")
    require_shape("smooth_points", "covariance", covariance, ",".join(map(str, (*points.shape, 3))))
    if acceleration is not None and not acceleration > 0:
        fail("smooth_points", "acceleration", "above 0", acceleration)
    num_frames, identity = len(points), torch.eye(3).double()
    flat = points.reshape(num_frames, -1, 3).double()
    spread = covariance.reshape(num_frames, -1, 3, 3).double()
    seen = torch.isfinite(flat).all(-1) & torch.isfinite(spread).all(-1).all(-1)
    enough = seen.sum(0) >= 2
    flat = flat.where(seen[..., None], 0.0)
    spread = spread.where(seen[..., None, None], identity)
    if acceleration is None:
        variances = spread.diagonal(dim1=-2, dim2=-1).mean(-1)
        deviation = acceleration_deviation(flat[:-2] - 2 * flat[1:-1] + flat[2:], variances, seen)
    else:
        deviation = flat.new_full((flat.shape[1],), acceleration)
    precision = torch.linalg.inv(spread) * (seen & enough)[..., None, None]
    # A track without points gets one at every frame, so that the system has a solution; it is thrown away.
    precision = torch.where(enough[:, None, None], precision, identity)
    stiffness = deviation.square().reciprocal()[:, None, None] * identity
    right = precision @ flat[..., None]
    tracks = solve_coupled(precision, right, stiffness, second_differences(num_frames))[..., 0]
    return tracks.where(enough[:, None], torch.nan).reshape(points.shape).to(points.dtype)
