"""Pose by damped least squares, a batch of objects at once, and single differentiable steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.pnp.cost import RobustReprojection
from refkp.geometry.pnp.pose import move_pose, sound_pose
from refkp.geometry.pnp.precision import full_precision, stable_cholesky
from refkp.geometry.pnp.problem import PnPProblem, PnPSpec

MIN_DIAGONAL, MAX_DIAGONAL = 1e-6, 1e32
MIN_RADIUS, MAX_RADIUS = 1e-5, 1e16
MIN_GAIN_RATIO = 1e-3
#: What is known of a parameter of the pose beyond the others, as a share, when only rounding is.
_FREE = 1e-6


class PnPSolution(NamedTuple):
    """Poses with their uncertainty, without a graph."""

    pose: Tensor  # [B,7], where it failed: the start
    cost: Tensor  # [B], NaN where it failed
    covariance: Tensor  # [B,6,6] of the local step (dt, dr), NaN where it failed
    failed: Tensor  # bool [B]: too few points, an element that is not finite, or no factorisation
    poor: Tensor  # bool [B]: failed, or its cost is high (`PnPSpec.max_misfit`), or the points leave it free


class GaussNewtonStep(NamedTuple):
    """One step towards the minimum."""

    step: Tensor  # [...,B,6], local (dt, dr); 0 where it failed
    pose: Tensor  # [...,B,7] after the step
    failed: Tensor  # bool [...,B]


class _State(NamedTuple):
    pose: Tensor
    cost: Tensor
    hessian: Tensor
    gradient: Tensor


@torch.no_grad()
@full_precision
def levenberg_marquardt(
    problem: PnPProblem,
    start: Tensor,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
) -> PnPSolution:
    """Minimise the robust reprojection cost by a fixed number of Levenberg-Marquardt iterations.

    Each solves (A + diag(clamp(diag A, 1e-6, 1e32)/radius + eps)) step = -J^T r with A = J^T J. An object
    takes its step if the cost falls by at least 1e-3 of what the model predicts; its radius then grows to at
    most three times, otherwise it shrinks by 2, 4, 8, ... No object waits for another, and the cost of none
    ever rises.

    Args:
        problem: B objects.
        start: [B,7].
        spec: `iterations`, `initial_radius`, `eps` and the constants of the cost.

    Returns:
        The solution, detached.

    Raises:
        ValueError: `start` is not [B,7], or of another dtype or device. A problem that cannot be solved is no
            error; see `failed`.

    Source: spec pose 4.4.
    """
    problem.require_pose("levenberg_marquardt", "start", start)
    robust = RobustReprojection(problem, spec)
    pose, failed = sound_pose(start)
    state = _evaluate(robust, pose)
    radius = torch.full_like(state.cost, spec.initial_radius)
    decrease = torch.full_like(state.cost, 2.0)
    for _ in range(spec.iterations):
        state, radius, decrease = _iterate(robust, state, radius, decrease, spec.eps)
    return _solution(robust, state, failed | ~robust.usable, pose, spec)


@torch.no_grad()
@full_precision
def gauss_newton(
    problem: PnPProblem,
    start: Tensor,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
) -> PnPSolution:
    """Minimise by `spec.fast_iterations` undamped steps: quick, and safe near the solution only.

    Args:
        problem: B objects.
        start: [B,7].
        spec: `fast_iterations`, `eps` and the constants of the cost.

    Returns:
        The solution, detached. A pose that leaves the finite numbers has failed.

    Raises:
        ValueError: `start` is not [B,7].

    Source: spec pose 4.4 (fast mode).
    """
    problem.require_pose("gauss_newton", "start", start)
    robust = RobustReprojection(problem, spec)
    first, failed = sound_pose(start)
    pose = first
    for _ in range(spec.fast_iterations):
        step = _newton(robust, pose, spec.eps, clip=False)
        pose, failed = step.pose, failed | step.failed
    return _solution(robust, _evaluate(robust, pose), failed | ~robust.usable, first, spec)


@full_precision
def gauss_newton_step(
    problem: PnPProblem,
    pose: Tensor,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
) -> GaussNewtonStep:
    """One undamped step -(J^T J + eps I)^-1 J^T r from constant poses, differentiable in the problem.

    Args:
        problem: B objects; gradients reach its points, pixels and weights.
        pose: [...,B,7], unit quaternions.
        spec: `eps` and the constants of the cost.

    Returns:
        The step and the pose after it.

    Raises:
        ValueError: the last axes of `pose` are not [B,7].

    Source: spec pose 4.4 (derivative regularisation).
    """
    robust = RobustReprojection(problem, spec)
    step = _newton(robust, pose, spec.eps, clip=True)
    return step._replace(failed=step.failed | ~robust.usable)


@torch.no_grad()
@full_precision
def solution_at(
    problem: PnPProblem,
    pose: Tensor,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
) -> PnPSolution:
    """Cost and covariance (J^T J + eps I)^-1 at poses [B,7] that were found elsewhere."""
    problem.require_pose("solution_at", "pose", pose)
    robust = RobustReprojection(problem, spec)
    sound, failed = sound_pose(pose)
    return _solution(robust, _evaluate(robust, sound), failed | ~robust.usable, sound, spec)


def _evaluate(robust: RobustReprojection, pose: Tensor) -> _State:
    at = robust.linearise(pose)
    return _State(pose, at.cost, at.hessian, at.gradient)


def _iterate(
    robust: RobustReprojection, state: _State, radius: Tensor, decrease: Tensor, eps: float
) -> tuple[_State, Tensor, Tensor]:
    diagonal = state.hessian.diagonal(dim1=-2, dim2=-1)
    damping = diagonal.clamp(MIN_DIAGONAL, MAX_DIAGONAL) / radius[:, None] + eps
    factor, failed = stable_cholesky(state.hessian + torch.diag_embed(damping))
    step = -torch.cholesky_solve(state.gradient[..., None], factor).squeeze(-1)
    half = (state.hessian @ step[..., None]).squeeze(-1) / 2
    predicted = -(step * (half + state.gradient)).sum(-1)
    candidate = _evaluate(robust, move_pose(state.pose, step))
    gain = (state.cost - candidate.cost) / predicted
    accepted = (gain >= MIN_GAIN_RATIO) & (predicted > 0) & ~failed  # false for NaN
    grown = radius / (1 - (2 * gain - 1) ** 3).clamp(min=1 / 3)
    radius = torch.where(accepted, grown, radius / decrease).clamp(MIN_RADIUS, MAX_RADIUS)
    decrease = torch.where(accepted, 2.0, 2 * decrease)
    chosen = (
        torch.where(accepted.reshape(-1, *[1] * (new.dim() - 1)), new, old)
        for new, old in zip(candidate, state, strict=True)
    )
    return _State(*chosen), radius, decrease


def _newton(robust: RobustReprojection, pose: Tensor, eps: float, *, clip: bool) -> GaussNewtonStep:
    at = robust.linearise(pose, clip=clip)
    identity = torch.eye(6, dtype=pose.dtype, device=pose.device)
    factor, failed = stable_cholesky(at.hessian + eps * identity)
    gradient = torch.where(failed[..., None], 0.0, at.gradient)
    step = -torch.cholesky_solve(gradient[..., None], factor).squeeze(-1)
    return GaussNewtonStep(step, move_pose(pose, step), failed)


def _solution(
    robust: RobustReprojection, state: _State, failed: Tensor, start: Tensor, spec: PnPSpec
) -> PnPSolution:
    identity = torch.eye(6, dtype=start.dtype, device=start.device)
    factor, singular = stable_cholesky(state.hessian + spec.eps * identity)
    failed = failed | singular | ~torch.isfinite(state.pose).all(-1) | ~torch.isfinite(state.cost)
    covariance = torch.where(failed[:, None, None], torch.nan, torch.cholesky_inverse(factor))
    pose = torch.where(failed[:, None], start, state.pose)
    poor = failed | (robust.misfit(state.cost) > spec.max_misfit) | _undetermined(state.hessian)
    return PnPSolution(pose, torch.where(failed, torch.nan, state.cost), covariance, failed, poor)


def _undetermined(hessian: Tensor) -> Tensor:
    """Whether the points leave a direction of the pose free, as points on a line do: bool [B].

    The squares of the factor's diagonal, relative to that of the Hessian, are what is known of each parameter beyond
    those before it; only rounding is left of a free one.
    """
    scale = hessian.double().diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(torch.float64).tiny).rsqrt()
    relative = hessian.double() * scale[..., None] * scale[..., None, :]
    factor, info = torch.linalg.cholesky_ex(relative)
    return (info > 0) | ~(factor.diagonal(dim1=-2, dim2=-1).square().amin(-1) > _FREE)
