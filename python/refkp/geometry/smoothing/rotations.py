"""Smoothing of rotations over time, on the rotations themselves: matrices are never averaged.

A filter forwards follows the turning and finds the way round a gap; then Gauss-Newton steps of all frames at once, each
linear about the motion so far, end at the most likely motion.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refkp._checks import fail, require_shape, require_trailing
from refkp.geometry.banded import ThreeFrameRows, solve_banded
from refkp.geometry.rotations import (
    LARGEST_ROTATION_ERROR,
    axis_angle_to_matrix,
    cross_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    quaternion_to_matrix,
    rotation_error,
)
from refkp.geometry.smoothing.acceleration import acceleration_deviation

#: Gauss-Newton steps at most, and the largest turn of the last, radians.
_MOST_STEPS, _CONVERGED = 30, 1e-8


@torch.no_grad()
def smooth_rotations(rotations: Tensor, variance: Tensor, *, acceleration: float | None = None) -> Tensor:
    """The most likely rotations over time, of small angular acceleration, from measured ones.

    With Exp and Log between rotation vectors and rotations, w_t = Log(R_t^T R_{t+1}) the turn from a frame to the next
    and Z_t what was measured, it minimises

        sum_t |Log(Z_t^T R_t)|^2 / v_t + sum_t |w_t - w_{t-1}|^2 / s^2

    over R_t <- R_t Exp(d_t), by Gauss-Newton from the trajectory of an extended Kalman filter of constant angular
    velocity. A step linearises both sums about the motion so far and solves for all d_t, which is one pass of a Kalman
    filter of the error state and a Rauch-Tung-Striebel pass back. Computed in float64.

    Args:
        rotations: [T,...,3,3], float, one frame after the other; NaN: missing.
        variance: [T,...], v, of the turn by which a measurement is off, rad^2 per axis; NaN or infinite: missing.
        acceleration: s, the standard deviation of the change of the turn between two frames, per axis, rad per frame^2.
            None: estimated for each track from what its second differences have beyond noise.

    Returns:
        [T,...,3,3], rotations; gaps are bridged, and the motion goes on beyond the first and last measurement. NaN
        throughout where a track has fewer than two measurements. Between two frames a rotation turns by at most pi.

    Raises:
        ValueError: shapes do not fit, a matrix that is no rotation, or a variance or `acceleration` not above 0.

    Source: B. M. Bell, "The iterated Kalman smoother as a Gauss-Newton method", SIAM J. Optimization 4, 1994, with the
    error state on the group as in J. Sola et al., "A micro Lie theory for state estimation in robotics", 2018; spec
    multiview h.

    >>> turns = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, 0.3 * t] for t in range(9)]))
    >>> seen = turns.clone()
    >>> seen[3:6] = torch.nan
    >>> bool((smooth_rotations(seen, torch.full((9,), 1e-4)) - turns).abs().max() < 1e-6)
    True
    """
    require_trailing("smooth_rotations", "rotations", rotations, "3,3")
    require_shape("smooth_rotations", "variance", variance, ",".join(map(str, rotations.shape[:-2])))
    if acceleration is not None and not acceleration > 0:
        fail("smooth_rotations", "acceleration", "above 0", acceleration)
    num_frames = len(rotations)
    measured = rotations.reshape(num_frames, -1, 3, 3).double()
    spread = variance.reshape(num_frames, -1).double()
    seen = torch.isfinite(measured).all(-1).all(-1) & torch.isfinite(spread)
    _check(measured[seen], spread[seen])
    if num_frames < 2:
        return torch.full_like(rotations, torch.nan)
    enough = seen.sum(0) >= 2
    # A track without measurements gets one at every frame, so that the system has a solution; it is thrown away.
    measured = measured.where((seen & enough)[..., None, None], torch.eye(3).double())
    measured = quaternion_to_matrix(matrix_to_quaternion(measured))
    spread = spread.where(seen, 1.0)
    if acceleration is None:
        deviation = acceleration_deviation(_turns(measured).diff(dim=0), spread, seen)
    else:
        deviation = spread.new_full((spread.shape[1],), acceleration)
    result = _followed(measured, spread, seen, deviation)
    for _ in range(_MOST_STEPS):
        step = _step(result, measured, (seen | ~enough) / spread, deviation)
        result = result @ axis_angle_to_matrix(step)
        if not float(step.abs().max()) > _CONVERGED:
            break
    return result.where(enough[:, None, None], torch.nan).reshape(rotations.shape).to(rotations.dtype)


def _check(rotations: Tensor, variance: Tensor) -> None:
    if not len(variance):
        return
    least, error = float(variance.min()), float(rotation_error(rotations).max())
    if not least > 0:
        fail("smooth_rotations", "variance", "above 0, or NaN where there is no measurement", least)
    if not error <= LARGEST_ROTATION_ERROR:
        got = f"a matrix with |R R^T - 1| up to {error:g}"
        fail("smooth_rotations", "rotations", "rotations, or NaN", got)


def _followed(measured: Tensor, variance: Tensor, seen: Tensor, deviation: Tensor) -> Tensor:
    """What a Kalman filter of rotation and turn gives [T,M,3,3], of one variance in every direction.

    Through a gap it goes on turning, so that a joint that turned by more than half a turn meanwhile is found on the
    right side; at first it knows nothing of the turn.
    """
    first = seen.int().argmax(0)
    rotation, turn = measured[first, torch.arange(len(first))], measured.new_zeros(len(first), 3)
    of_rotation = of_turn = torch.full_like(deviation, math.pi**2)
    of_both = torch.zeros_like(deviation)
    followed = []
    for t in range(len(measured)):
        rotation = rotation @ axis_angle_to_matrix(turn)
        of_turn = of_turn + deviation.square()
        of_rotation = of_rotation + 2 * of_both + of_turn
        of_both = of_both + of_turn
        innovation = matrix_to_axis_angle(rotation.mT @ measured[t])
        trust = seen[t] / (of_rotation + variance[t])
        rotation = rotation @ axis_angle_to_matrix((of_rotation * trust)[:, None] * innovation)
        turn = turn + (of_both * trust)[:, None] * innovation
        of_turn = of_turn - of_both.square() * trust
        of_both, of_rotation = of_both * (1 - of_rotation * trust), of_rotation * (1 - of_rotation * trust)
        followed.append(rotation)
    return torch.stack(followed)


def _step(rotations: Tensor, measured: Tensor, weight: Tensor, deviation: Tensor) -> Tensor:
    """The Gauss-Newton step d [T,M,3]."""
    off = matrix_to_axis_angle(measured.mT @ rotations)
    by_own = _inverse_jacobian(-off)
    turns, share = _turns(rotations), 1 / deviation[:, None]
    by_start, by_end = -_inverse_jacobian(turns), _inverse_jacobian(-turns)
    by_three = (-by_start[:-1], by_start[1:] - by_end[:-1], by_end[1:])
    rows = ThreeFrameRows(*(block * share[..., None] for block in by_three))
    # A rotation vector is an eigenvector of its own Jacobian, of eigenvalue 1.
    gradient = weight[..., None] * off + rows.transposed_times(turns.diff(dim=0) * share)
    diagonal, first, second = rows.normal()
    diagonal = diagonal + weight[..., None, None] * (by_own.mT @ by_own)
    return solve_banded(diagonal, first, second, -gradient[..., None])[..., 0]


def _turns(rotations: Tensor) -> Tensor:
    """Log(R_t^T R_{t+1}) [T-1,M,3]."""
    return matrix_to_axis_angle(rotations[:-1].mT @ rotations[1:])


def _inverse_jacobian(vector: Tensor) -> Tensor:
    """J^-1 [...,3,3] with Log(Exp(d) Exp(v)) = v + J^-1 d to first order; of -v it is that of Log(Exp(v) Exp(d))."""
    squared = vector.square().sum(-1)
    near_zero = squared < 1e-4
    half = torch.where(near_zero, torch.ones_like(squared), squared).sqrt() / 2
    exact = (1 - half * half.cos() / half.sin()) / (4 * half.square())
    share = torch.where(near_zero, 1 / 12 + squared / 720 + squared.square() / 30240, exact)
    cross = cross_matrix(vector)
    return torch.eye(3).to(vector) - 0.5 * cross + share[..., None, None] * (cross @ cross)
