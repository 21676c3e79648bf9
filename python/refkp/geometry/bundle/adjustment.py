"""Bundle adjustment: Levenberg-Marquardt on cameras and points, between rounds of triangulation anew."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_input
from refkp.geometry.bundle.derivative import Reduced, Views, reduce_to_cameras, robust_cost
from refkp.geometry.bundle.problem import CAMERA_SIZE, BundleSpec, focal_prior, free_directions, move_rig
from refkp.geometry.rig import Rig
from refkp.geometry.triangulation import TriangulationSpec, triangulate

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-4, 1e-10, 1e6
#: A cost that falls by less than this share has converged: roughly before the last round, well in it.
ROUGHLY, WELL = 1e-5, 1e-8
#: Points whose inverse covariance is worse conditioned than this have no place of their own.
MAX_ELONGATION = 1e12


class Bundle(NamedTuple):
    """A refined rig, without a graph."""

    rig: Rig
    points: Tensor  # [N,3], NaN where too few views agree
    inliers: Tensor  # bool [N,V]: the observations that the result stands on
    residual_before_px: Tensor  # [N,V] of free points under the cameras given; NaN: not seen
    residual_px: Tensor  # [N,V] of free points under the refined cameras; NaN: not seen
    num_observations: int  # inliers
    covariance: Tensor  # [8V,8V] of (turn, centre, log focal length, k1) of each camera; 0 for what is fixed


@torch.no_grad()
def adjust(
    uv: Tensor,
    rig: Rig,
    *,
    weights: Tensor | None = None,
    spec: BundleSpec = BundleSpec(),  # noqa: B008 (frozen)
) -> Bundle:
    """Refine the cameras of a rig, and points that nobody knows, from what the cameras saw of them.

    Minimises Cauchy's cost of all pixel distances over points and cameras. The first camera keeps its pose,
    the second its distance from it. The points are eliminated (Schur complement), derivatives are analytic.
    Between rounds the points are triangulated anew, with a threshold that follows the residuals, so that a
    bad start does not decide which observations are wrong. Computes in float64.

    Args:
        uv: [N,V,2], float, pixels as seen; NaN: not seen.
        rig: V >= 2 cameras to start from.
        weights: [N,V], inverse variances relative to each other.
        spec: what is free, and the thresholds.

    Returns:
        Bundle, in float64.

    Raises:
        ValueError: shapes do not fit, two cameras stand at one place, or hardly any point is seen by two views.

    Source: spec multiview i.
    """
    rig.require("adjust")
    num_views = len(rig.K)
    require_input("adjust", "uv", uv, f"N,{num_views},2", (torch.float32, torch.float64))
    if num_views < 2:
        fail("adjust", "rig", "of at least 2 cameras", num_views)
    start = rig.to(torch.float64)
    if not bool((start.centres()[1] - start.centres()[0]).norm() > 0):
        fail(
            "adjust", "rig", "with its first two cameras apart", "one centre", "Their distance is the scale."
        )
    uv = uv.double()
    factors = torch.ones_like(uv[..., 0]) if weights is None else weights.double()
    refined, threshold = start, spec.start_px
    for round_ in range(spec.rounds):
        found = triangulate(uv, refined, weights=factors, spec=_gate(threshold))
        residual = found.residual_px[found.inliers]
        _require_enough(int(found.inliers.sum()), num_views)
        typical = float(residual.median())
        views = Views(uv.nan_to_num(), factors.where(found.inliers, 0.0))
        converged = WELL if round_ == spec.rounds - 1 else ROUGHLY
        refined = _minimise(start, refined, found.points, views, max(spec.scale_px, typical), converged, spec)
        threshold = min(threshold, max(spec.threshold_px, 6 * typical))
    return _result(start, refined, uv, factors, spec)


def _gate(threshold_px: float) -> TriangulationSpec:
    return TriangulationSpec(threshold_px=threshold_px)


def _require_enough(num_observations: int, num_views: int) -> None:
    needed = CAMERA_SIZE * num_views
    if num_observations < needed:
        remedy = "Give more frames, or a larger `start_px` if the cameras are far off."
        fail("adjust", "uv", f"at least {needed} observations that agree", num_observations, remedy)


def _minimise(
    start: Rig, rig: Rig, points: Tensor, views: Views, scale_px: float, converged: float, spec: BundleSpec
) -> Rig:
    """Levenberg-Marquardt until it has converged, from points [N,3], NaN where there is none."""
    kept = (views.weights > 0).sum(-1) >= 2
    points, views = points[kept], Views(views.uv[kept], views.weights[kept])

    def cost_of(rig: Rig, points: Tensor) -> float:
        return float(robust_cost(rig, points, views, scale_px) + focal_prior(rig, start, spec)[2])

    damping, cost = FIRST_DAMPING, cost_of(rig, points)
    for _ in range(spec.iterations):
        system, back, own = reduce_to_cameras(rig, points, views, scale_px, damping)
        step = _camera_step(start, rig, system, spec)
        moved = move_rig(rig, step.unflatten(0, (-1, CAMERA_SIZE)))
        shifted = points - own - back @ step
        tried = cost_of(moved, shifted)
        if tried < cost:
            done = cost - tried < converged * cost
            rig, points, cost = moved, shifted, tried
            damping = max(damping / 10, LEAST_DAMPING)
            if done:
                break
        elif damping >= MOST_DAMPING:
            break
        else:
            damping *= 10
    return rig


def _camera_step(start: Rig, rig: Rig, system: Reduced, spec: BundleSpec) -> Tensor:
    """The step [8V] along the free directions."""
    diagonal, pull, _ = focal_prior(rig, start, spec)
    free = free_directions(rig, spec)
    matrix = free.mT @ (system.matrix + diagonal.diag()) @ free
    return -free @ torch.linalg.solve(matrix, free.mT @ (system.gradient + pull))


def _result(start: Rig, refined: Rig, uv: Tensor, weights: Tensor, spec: BundleSpec) -> Bundle:
    loose = replace(_gate(spec.threshold_px), min_share=0.0)
    before = triangulate(uv, start, weights=weights, spec=replace(loose, threshold_px=spec.start_px))
    after = triangulate(uv, refined, weights=weights, spec=loose)
    num_observations = int(after.inliers.sum())
    return Bundle(
        refined,
        after.points,
        after.inliers,
        before.residual_px,
        after.residual_px,
        num_observations,
        _covariance(refined, after.points, Views(uv.nan_to_num(), weights.where(after.inliers, 0.0)), spec),
    )


def _covariance(rig: Rig, points: Tensor, views: Views, spec: BundleSpec) -> Tensor:
    kept = (views.weights > 0).sum(-1) >= 2
    points, views = points[kept], Views(views.uv[kept], views.weights[kept])
    system = reduce_to_cameras(rig, points, views, spec.scale_px, 0.0)[0]
    free = free_directions(rig, spec)
    freedom = 2 * int((views.weights > 0).sum()) - 3 * len(points) - free.shape[1]
    noise = system.cost / max(freedom, 1)
    prior = focal_prior(rig, rig, spec)[0].diag()
    return free @ torch.linalg.inv(free.mT @ (system.matrix / noise + prior) @ free) @ free.mT
