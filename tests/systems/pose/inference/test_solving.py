"""Weighted pose refinement: the optimum, and a covariance that says how far it is from the truth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from refkp.geometry.cameras import project
from refkp.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_angle_between
from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.inference.solving import WeightedPose, solve_weighted
from refkp.systems.pose.inference.spec import SolverSpec

K = torch.tensor([[600.0, 0.0, 112.0], [0.0, 605.0, 112.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def true_pose() -> Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = axis_angle_to_matrix(torch.tensor([0.5, -1.2, 0.3], dtype=torch.float64))
    pose[:3, 3] = torch.tensor([15.0, -10.0, 500.0])
    return pose


def moved(pose: Tensor) -> Tensor:
    start = pose.clone()
    start[:3, :3] = (
        axis_angle_to_matrix(torch.tensor([0.05, 0.04, -0.06], dtype=torch.float64)) @ pose[:3, :3]
    )
    start[:3, 3] += torch.tensor([4.0, -3.0, 15.0])
    return start


def problem(count: int = 60, noise_px: float = 0.0) -> tuple[Tensor, Tensor]:
    points, pose = 40 * torch.randn(count, 3, dtype=torch.float64), true_pose()
    uv = project(points, K, pose[:3, :3], pose[:3, 3]).uv
    return points, uv + noise_px * torch.randn_like(uv)


@pytest.mark.parametrize("start", [moved(true_pose()), None], ids=["near", "random subsets"])
def test_exact_matches_give_the_exact_pose(start: Tensor | None) -> None:
    points, uv = problem()
    found = solve_weighted(
        points, uv, torch.ones(60), K, torch.arange(60), start=start, spec=SolverSpec(iterations=25)
    )
    assert isinstance(found, WeightedPose)
    torch.testing.assert_close(found.cam_from_obj, true_pose(), atol=1e-6, rtol=1e-6)


def test_matches_of_little_weight_hardly_count() -> None:
    points, uv = problem()
    uv[:30] += 20.0
    weight = torch.ones(60)
    weight[:30] = 1e-4
    found = solve_weighted(points, uv, weight, K, torch.arange(len(points)), start=moved(true_pose()))
    assert isinstance(found, WeightedPose)
    angle = rotation_angle_between(found.cam_from_obj[:3, :3], true_pose()[:3, :3])
    assert math.degrees(float(angle)) < 0.01


@pytest.mark.parametrize("size", [1, 8], ids=["each for itself", "patches of eight"])
def test_the_covariance_is_that_of_the_errors(size: int) -> None:
    """Over many noisy problems; the noise of a group is common to its matches, and its size is not told."""
    groups, noise = 40, 0.5
    group = torch.arange(groups).repeat_interleave(size)
    points, uv = problem(groups * size)
    errors, stated = [], []
    for _ in range(200):
        noisy = uv + noise * torch.randn(groups, 2, dtype=torch.float64)[group]
        found = solve_weighted(
            points, noisy, torch.full((len(uv),), 4.0), K, group, start=true_pose(), spec=SolverSpec(4)
        )
        assert isinstance(found, WeightedPose)
        turn = true_pose()[:3, :3] @ found.cam_from_obj[:3, :3].mT
        shift = true_pose()[:3, 3] - found.cam_from_obj[:3, 3]
        errors.append(torch.cat((shift, matrix_to_axis_angle(turn))))
        stated.append(found.covariance)
    true, mean = torch.cov(torch.stack(errors).mT), torch.stack(stated).mean(0)
    ratio = mean.diagonal() / true.diagonal()
    # Leaving out is careful: 1.18 on average with 40 groups; 200 trials know each ratio to 10 %.
    assert bool(((ratio > 0.8) & (ratio < 1.5)).all()), ratio
    unit = true.diagonal().rsqrt()
    assert float(((mean - true) * unit[:, None] * unit).abs().max()) < 0.6


def test_sigmas_are_roots_of_the_traces() -> None:
    covariance = torch.diag(torch.tensor([1.0, 4.0, 4.0, 1e-4, 4e-4, 4e-4], dtype=torch.float64))
    found = WeightedPose(true_pose(), covariance)
    assert found.sigma_mm == pytest.approx(3.0)
    assert found.sigma_deg == pytest.approx(math.degrees(0.03))


def test_weights_are_capped() -> None:
    points, uv = problem(noise_px=0.5)
    capped, heavy = (
        solve_weighted(points, uv, torch.full((60,), weight), K, torch.arange(len(points)), start=true_pose())
        for weight in (4.0, 1e6)
    )
    assert isinstance(capped, WeightedPose)
    assert isinstance(heavy, WeightedPose)
    assert torch.equal(capped.covariance, heavy.covariance)


def test_too_little_to_go_on_is_a_failure() -> None:
    points, uv = problem(3)
    few = solve_weighted(points, uv, torch.ones(3), K, torch.arange(len(points)), start=true_pose())
    assert isinstance(few, EstimateFailure)
    assert few.reason == "too_few_matches"
    points, uv = problem(10)
    nothing = solve_weighted(points, uv, torch.zeros(10), K, torch.arange(len(points)), start=true_pose())
    assert isinstance(nothing, EstimateFailure)
    assert nothing.reason == "degenerate"
