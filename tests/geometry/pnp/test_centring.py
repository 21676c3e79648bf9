"""Where the origin of the object's frame is does not matter, and a pose that explains nothing says so."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from refkp.geometry.pnp import (
    InitialisationSpec,
    PnPProblem,
    PnPSpec,
    levenberg_marquardt,
    monte_carlo_pose_loss,
    move_pose,
    pose_error,
    solve,
)
from refkp.geometry.pnp.centring import covariance_about, pose_about, weighted_mean
from tests.support.pnp_scenes import nearby, problems, project

SPEC = PnPSpec(iterations=20)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def away(problem: PnPProblem, distance: float) -> tuple[PnPProblem, Tensor]:
    """The same objects in frames whose origins are `distance` metres off, and by what their points moved."""
    direction = torch.tensor([0.6, -0.64, 0.48], dtype=problem.points.dtype)
    moved = (distance * direction).expand(len(problem.points), 3)
    return dataclasses.replace(problem, points=problem.points + moved[:, None]), moved


@pytest.mark.parametrize("distance", [0.5, 10.0, 1000.0])
@pytest.mark.parametrize("fast", [False, True])
def test_a_far_origin_changes_nothing(distance: float, fast: bool) -> None:
    problem, true = problems(8, 25, noise_px=1.5)
    weights = 0.2 + torch.rand(problem.weights.shape, generator=generator(), dtype=torch.float64)
    problem = dataclasses.replace(problem, weights=weights)
    far, moved = away(problem, distance)
    starts = (
        (None, None) if not fast else (nearby(true, scale=0.02), pose_about(nearby(true, scale=0.02), -moved))
    )
    near_found, far_found = (
        solve(each, SPEC, generator(), start=start, fast=fast)
        for each, start in zip((problem, far), starts, strict=True)
    )
    back = pose_about(far_found.pose, moved)
    torch.testing.assert_close(back, near_found.pose, rtol=0, atol=1e-11 * max(1, distance))
    torch.testing.assert_close(far_found.cost, near_found.cost, rtol=1e-7, atol=0)
    covariance = covariance_about(far_found.covariance, far_found.pose, moved)
    scale = near_found.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation, wanted = (
        each / scale[:, :, None] / scale[:, None] for each in (covariance, near_found.covariance)
    )
    torch.testing.assert_close(correlation, wanted, rtol=0, atol=1e-8 * max(1, distance) ** 2)


@pytest.mark.parametrize("distance", [10.0, 1000.0])
def test_in_single_precision_only_the_rounding_of_the_points_is_left(distance: float) -> None:
    problem, true = problems(8, 25)
    far, moved = away(problem, distance)
    single = PnPProblem(*(part.float() for part in (far.points, far.pixels, far.weights, far.K)))
    error = pose_error(pose_about(solve(single, SPEC, generator()).pose.double(), moved), true)
    assert error.rotation.rad2deg().max() < 5e-2 * distance / 1000 + 1e-3


def test_a_step_far_away_is_the_step_near_by() -> None:
    """The law that covariances are moved by: points move alike under dt = dt' - skew(2 R c) dr."""
    problem, true = problems(3, 6)
    _, moved = away(problem, 2.0)
    torch.manual_seed(0)
    step = 1e-5 * torch.randn(3, 6, dtype=torch.float64)
    # Steps of covariance s s^T map as s does.
    mapped = covariance_about(step[:, :, None] * step[:, None], true, -moved)
    there = pose_about(true, -moved)
    direction = torch.linalg.eigh(mapped)
    length = direction.eigenvalues[:, -1].sqrt()
    far_step = direction.eigenvectors[..., -1] * length[:, None]
    far_step = far_step * (far_step[:, 3:] * step[:, 3:]).sum(-1, keepdim=True).sign()
    torch.testing.assert_close(
        pose_about(move_pose(there, far_step), moved), move_pose(true, step), rtol=0, atol=1e-8
    )


def test_the_loss_and_its_solution_do_not_depend_on_the_origin() -> None:
    problem, true = problems(4, 25, noise_px=1)
    far, moved = away(problem, 100.0)
    near_loss = monte_carlo_pose_loss(problem, true, SPEC, generator())
    far_loss = monte_carlo_pose_loss(far, pose_about(true, -moved), SPEC, generator())
    torch.testing.assert_close(far_loss.loss, near_loss.loss, rtol=1e-5, atol=1e-5)
    solution = pose_about(far_loss.solution.pose, moved)
    torch.testing.assert_close(solution, near_loss.solution.pose, rtol=0, atol=1e-8)


def test_the_middle_counts_what_is_weighed_and_valid() -> None:
    problem, _ = problems(3, 6)
    weights = problem.weights.clone()
    weights[0, 1:], weights[1] = 0, 0
    points = problem.points.clone()
    points[2, 5] = torch.nan
    valid = torch.arange(6).expand(3, 6) < 5
    mean = weighted_mean(PnPProblem(points, problem.pixels, weights, problem.K, valid), SPEC)
    torch.testing.assert_close(mean[0], points[0, 0])
    torch.testing.assert_close(mean[1], torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(mean[2], points[2, :5].mean(0))


def test_a_pose_that_does_not_explain_the_pixels_is_poor() -> None:
    good, true = problems(16, 40, noise_px=2)
    assert not solve(good, SPEC, generator()).poor.any()
    noise, _ = problems(16, 40, outliers=1.0)
    found = solve(noise, SPEC, generator())
    assert found.poor.all()
    assert not found.failed.any()
    once = dataclasses.replace(SPEC, initialisation=InitialisationSpec(proposals=1, iterations=1))
    stuck = levenberg_marquardt(good, nearby(true, scale=1.5), dataclasses.replace(once, iterations=4))
    wrong = pose_error(stuck.pose, true).rotation.rad2deg() > 15
    assert wrong.any()
    assert stuck.poor[wrong].all()
    scaled = dataclasses.replace(noise, weights=1000 * noise.weights)  # it has no unit
    assert solve(scaled, SPEC, generator()).poor.all()
    few = dataclasses.replace(good, weights=torch.zeros_like(good.weights))
    assert solve(few, SPEC, generator()).poor.all()
    with pytest.raises(ValueError, match="`max_misfit` must be above 0"):
        PnPSpec(max_misfit=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (0.3, -0.5, 0.8)])
def test_points_on_a_line_leave_the_pose_free_and_it_says_so(
    direction: tuple[float, float, float], dtype: torch.dtype
) -> None:
    """The turn about the line has no say in the pixels, and a plane or a thin body has."""
    some, true = problems(4, 12, dtype=dtype)
    along = torch.linspace(-0.06, 0.06, 12, dtype=dtype)[None, :, None] * torch.tensor(direction, dtype=dtype)
    across = 0.004 * torch.randn(4, 12, 3, generator=generator(), dtype=dtype)
    for thin, poor in ((0.0, True), (1.0, False)):
        points = (along + thin * across).expand(4, -1, -1).contiguous()
        problem = dataclasses.replace(some, points=points, pixels=project(points, true, some.K))
        found = solve(problem, SPEC, generator(), start=true)
        assert (found.poor == poor).all(), thin
        scaled = dataclasses.replace(problem, weights=1e-3 * problem.weights)
        assert (solve(scaled, SPEC, generator(), start=true).poor == poor).all()
