"""Where to begin: random poses polished on random subsets of the correspondences, the best of them kept."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional

from refkp.geometry.pnp.centring import centred_about, pose_about, solution_about, weighted_mean
from refkp.geometry.pnp.cost import RobustReprojection
from refkp.geometry.pnp.draws import Generators, draw
from refkp.geometry.pnp.levenberg_marquardt import PnPSolution, gauss_newton, levenberg_marquardt
from refkp.geometry.pnp.precision import full_precision
from refkp.geometry.pnp.problem import PnPProblem, PnPSpec
from refkp.geometry.rotations import quaternion_to_matrix


@full_precision
def solve(
    problem: PnPProblem,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
    generator: Generators = None,
    *,
    start: Tensor | None = None,
    fast: bool = False,
) -> PnPSolution:
    """Poses of least robust reprojection cost, with their covariance.

    The solver works about the weighted mean of the points, so that it does not matter where the origin of the
    object's frame is; pose and covariance are those of the frame that was given.

    Args:
        problem: B objects.
        spec: the constants.
        generator: of the random restarts, on the device of the problem.
        start: [B,7]; None: `initial_pose` finds one.
        fast: plain Gauss-Newton instead of Levenberg-Marquardt, for a start near the solution.

    Returns:
        The solution, detached; `failed` tells which objects have none, `poor` which have one that does not
        explain the pixels.

    Raises:
        ValueError: `start` is not [B,7].

    Source: spec pose 4.4.
    """
    if start is not None:
        problem.require_pose("solve", "start", start)
    centre = weighted_mean(problem, spec)
    start = None if start is None else pose_about(start, centre)
    found = solve_centred(centred_about(problem, centre), spec, generator, start=start, fast=fast)
    return solution_about(found, -centre)


def solve_centred(
    problem: PnPProblem,
    spec: PnPSpec,
    generator: Generators = None,
    *,
    start: Tensor | None = None,
    fast: bool = False,
) -> PnPSolution:
    """`solve` of a problem whose points lie around their origin."""
    start = initial_pose(problem, spec, generator) if start is None else start
    return (gauss_newton if fast else levenberg_marquardt)(problem, start, spec)


@torch.no_grad()
@full_precision
def initial_pose(
    problem: PnPProblem,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
    generator: Generators = None,
) -> Tensor:
    """A start for the solver: the best of many random poses (RSLM).

    Each proposal takes a random subset of the correspondences, likelier those of larger weight, a random
    rotation, and the translation that puts the subset on its mean ray at the distance where its spread has
    the size seen; some Levenberg-Marquardt iterations on the subset follow. The proposal of least cost over
    all correspondences wins.

    Args:
        problem: B objects.
        spec: `initialisation` and the constants of the cost.
        generator: of the subsets and rotations.

    Returns:
        [B,7]. Objects that cannot be solved get a finite pose without meaning; the solver marks them.

    Source: spec pose 4.4.
    """
    constants = spec.initialisation
    robust, objects = RobustReprojection(problem, spec), len(problem.points)
    clean = PnPProblem(robust.points, robust.pixels, robust.weights, robust.K, problem.valid)
    subsets = _random_subsets(clean, constants.proposals, constants.points, generator)
    start = _guess(subsets, draw(torch.randn, (constants.proposals, objects, 4), 1, robust.points, generator))
    few = dataclasses.replace(spec, iterations=constants.iterations)
    poses = levenberg_marquardt(subsets, start, few).pose.unflatten(0, (constants.proposals, objects))
    cost = robust.cost(poses)
    best = torch.where(torch.isfinite(cost), cost, torch.inf).argmin(0)
    return poses[best, torch.arange(objects, device=best.device)]


def _random_subsets(problem: PnPProblem, num_subsets: int, size: int, generator: Generators) -> PnPProblem:
    """Subsets of every object as a problem of num_subsets x B objects, drawn without putting back."""
    weight = problem.weights.mean(-1)
    uniform = draw(torch.rand, (num_subsets, *weight.shape), 1, weight, generator)
    # The largest of u^(1/w) are a weighted draw; points of weight 0 come last.
    tiny = torch.finfo(weight.dtype).tiny
    keys = uniform.clamp(min=tiny).log() / weight.clamp(min=tiny)
    keys = torch.where(problem.is_valid & (weight > 0), keys, -torch.inf)
    index = keys.topk(min(size, weight.shape[1]), dim=-1).indices[..., None]  # [P,B,k,1]

    def taken(tensor: Tensor) -> Tensor:
        wide = tensor.expand(num_subsets, *tensor.shape)
        return wide.gather(2, index.expand(*index.shape[:3], tensor.shape[-1])).flatten(0, 1)

    intrinsics = problem.K.expand(num_subsets, *problem.K.shape).flatten(0, 1)
    valid = taken(problem.is_valid[..., None]).squeeze(-1)
    return PnPProblem(taken(problem.points), taken(problem.pixels), taken(problem.weights), intrinsics, valid)


def _guess(problem: PnPProblem, turns: Tensor) -> Tensor:
    """Poses [PB,7] of rotations along `turns` [P,B,4]: t = ray * sqrt(2/3) * std3d/std2d, mean point on mean ray."""
    counted = problem.is_valid[..., None].to(problem.points.dtype)
    count = counted.sum(1).clamp(min=1)
    rays = _rays(problem)
    mean_ray, mean_point = ((each * counted).sum(1) / count for each in (rays, problem.points))
    seen, true = (
        (((each - mean[:, None]) * counted).square().sum((1, 2)) / count[:, 0]).sqrt()
        for each, mean in ((rays, mean_ray), (problem.points, mean_point))
    )
    eps = torch.finfo(seen.dtype).eps
    distance = math.sqrt(2 / 3) * true.clamp(min=eps) / seen.clamp(min=eps)
    quaternion = functional.normalize(turns.flatten(0, 1), dim=-1)
    turned = (quaternion_to_matrix(quaternion) @ mean_point[..., None]).squeeze(-1)
    return torch.cat((mean_ray * distance[:, None] - turned, quaternion), dim=-1)


def _rays(problem: PnPProblem) -> Tensor:
    """Viewing rays [B,n,3] of the pixels, at depth 1."""
    ones = torch.ones_like(problem.pixels[..., :1])
    homogeneous = torch.cat((problem.pixels, ones), dim=-1).mT
    return torch.linalg.solve_ex(problem.K, homogeneous).result.mT
