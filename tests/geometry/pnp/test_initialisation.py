"""Poses from nothing."""

from __future__ import annotations

import dataclasses

import torch

from refkp.geometry.pnp import (
    InitialisationSpec,
    PnPProblem,
    PnPSpec,
    initial_pose,
    pose_error,
    pose_to_matrix,
    solve,
)
from tests.support.pnp_scenes import nearby, problems


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_exact_matches_give_the_pose_from_nothing() -> None:
    problem, true = problems(12, 40)
    error = pose_error(solve(problem, PnPSpec(iterations=20), generator()).pose, true)
    assert error.rotation.max() < 1e-6
    assert error.translation.max() < 1e-6


def test_a_proposal_begins_at_the_distance_where_the_points_have_the_size_seen() -> None:
    """Without an iteration, and of all points at once: the depth of their middle is right to a few percent."""
    problem, true = problems(12, 60)
    guess = InitialisationSpec(points=60, proposals=1, iterations=0)
    start = initial_pose(problem, PnPSpec(initialisation=guess), generator())
    middle = problem.points.mean(1, keepdim=True)
    depth, want = (
        (middle @ pose_to_matrix(pose)[:, :3, :3].mT)[:, 0, 2] + pose[:, 2] for pose in (start, true)
    )
    torch.testing.assert_close(depth, want, rtol=0.1, atol=0)


def test_with_a_fifth_of_outliers_it_stays_within_a_degree() -> None:
    problem, true = problems(12, 60, outliers=0.2)
    spec = PnPSpec(iterations=20, relative_threshold=0.02, initialisation=InitialisationSpec(6, 64, 5))
    error = pose_error(solve(problem, spec, generator()).pose, true)
    assert error.rotation.rad2deg().max() < 1
    trusting = dataclasses.replace(spec, relative_threshold=1e3)
    assert pose_error(solve(problem, trusting, generator()).pose, true).rotation.rad2deg().median() > 5


def test_weights_steer_the_subsets() -> None:
    problem, true = problems(8, 40, outliers=0.6)
    weights = problem.weights.clone()
    weights[:, :24] = 1e-3
    spec = PnPSpec(iterations=10, initialisation=InitialisationSpec(proposals=8))
    start = initial_pose(dataclasses.replace(problem, weights=weights), spec, generator())
    assert pose_error(start, true).rotation.rad2deg().median() < 3


def test_the_same_generator_gives_the_same_pose_and_padding_is_never_drawn() -> None:
    problem, _ = problems(4, 12, noise_px=3)
    first, second = (initial_pose(problem, PnPSpec(), generator()) for _ in range(2))
    assert torch.equal(first, second)
    valid = torch.arange(12).expand(4, 12) < 8
    junk = problem.points.masked_fill(~valid[..., None], torch.nan)
    padded = PnPProblem(junk, problem.pixels, problem.weights, problem.K, valid)
    solution = solve(padded, PnPSpec(iterations=20), generator())
    cut = PnPProblem(problem.points[:, :8], problem.pixels[:, :8], problem.weights[:, :8], problem.K)
    want = solve(cut, PnPSpec(iterations=20), generator())
    torch.testing.assert_close(solution.cost, want.cost, rtol=1e-3, atol=1e-3)


def test_a_start_is_taken_as_it_is() -> None:
    problem, true = problems(4, 12, noise_px=3)
    start = nearby(true, scale=0.01)
    none = PnPSpec(iterations=0)
    torch.testing.assert_close(solve(problem, none, start=start).pose, start)
    fast = solve(problem, PnPSpec(fast_iterations=6), start=start, fast=True)
    torch.testing.assert_close(fast.pose, solve(problem, PnPSpec(iterations=20), start=start).pose)


def test_degenerate_objects_get_a_finite_start() -> None:
    problem, _ = problems(4, 12, dtype=torch.float32)
    points, weights = problem.points.clone(), problem.weights.clone()
    points[0] = points[0, 0]
    points[1] = torch.nan
    weights[2] = 0
    solution = solve(PnPProblem(points, problem.pixels, weights, problem.K), PnPSpec(), generator())
    assert torch.isfinite(solution.pose).all()
    assert solution.failed.tolist() == [False, True, True, False]
