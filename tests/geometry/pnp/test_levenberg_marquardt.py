"""The solver: convergence, monotony, equivariance, and objects that cannot be solved."""

from __future__ import annotations

import dataclasses
import math
from importlib import import_module

import pytest
import torch

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given, settings
from hypothesis import strategies as st

from refkp.geometry.pnp import (
    PnPProblem,
    PnPSpec,
    RobustReprojection,
    gauss_newton,
    gauss_newton_step,
    levenberg_marquardt,
    matrix_to_pose,
    move_pose,
    pose_cost,
    pose_error,
    pose_to_matrix,
    solution_at,
)
from refkp.geometry.rotations import axis_angle_to_matrix
from tests.support.pnp_scenes import nearby, problems, random_poses

LONG = PnPSpec(iterations=40)


def test_exact_matches_give_the_pose() -> None:
    problem, true = problems(16, 20)
    solution = levenberg_marquardt(problem, nearby(true), LONG)
    error = pose_error(solution.pose, true)
    assert not solution.failed.any()
    assert error.rotation.max() < 1e-6
    assert error.translation.max() < 1e-6
    assert solution.cost.max() < 1e-12


def test_float32_is_precise_enough() -> None:
    problem, true = problems(16, 20, dtype=torch.float32)
    error = pose_error(levenberg_marquardt(problem, nearby(true), LONG).pose, true)
    assert error.rotation.max() < 1e-4
    assert error.translation.max() < 1e-4


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_cost_never_rises(seed: int) -> None:
    problem, _ = problems(4, 10, noise_px=20, outliers=0.3, seed=seed)
    start = random_poses(4, torch.Generator().manual_seed(seed))
    costs = [pose_cost(problem, start)]
    for count in range(1, 7):
        solution = levenberg_marquardt(problem, start, PnPSpec(iterations=count))
        torch.testing.assert_close(solution.cost, pose_cost(problem, solution.pose))
        costs.append(solution.cost)
    table = torch.stack(costs)
    assert (table.diff(dim=0) <= 0).all()
    assert (table[-1] < table[0]).all()


def test_without_damping_a_step_is_that_of_gauss_newton() -> None:
    problem, true = problems(4, 20, noise_px=1)
    start = nearby(true, scale=0.005)
    undamped = PnPSpec(iterations=1, initial_radius=1e16)
    solution = levenberg_marquardt(problem, start, undamped)
    step = gauss_newton_step(problem, start, undamped)
    torch.testing.assert_close(solution.pose, step.pose, atol=1e-12, rtol=0)
    torch.testing.assert_close(move_pose(start, step.step), step.pose)


def test_near_the_solution_the_fast_mode_agrees() -> None:
    problem, true = problems(4, 20, noise_px=1)
    fast = gauss_newton(problem, nearby(true, scale=0.01), PnPSpec(fast_iterations=8))
    torch.testing.assert_close(fast.pose, levenberg_marquardt(problem, true, LONG).pose, atol=1e-9, rtol=0)
    torch.testing.assert_close(fast.cost, pose_cost(problem, fast.pose))


def test_objects_do_not_wait_for_each_other() -> None:
    problem, true = problems(3, 12, noise_px=5)
    start = nearby(true, scale=0.3)
    together = levenberg_marquardt(problem, start)
    for b in range(3):
        one = slice(b, b + 1)
        alone = PnPProblem(problem.points[one], problem.pixels[one], problem.weights[one], problem.K[one])
        torch.testing.assert_close(levenberg_marquardt(alone, start[one]).pose, together.pose[one])


def test_another_object_frame_gives_the_same_pose_in_it() -> None:
    problem, true = problems(4, 20, noise_px=2)
    frame = pose_to_matrix(random_poses(4, torch.Generator().manual_seed(5)))
    moved = problem.points @ frame[:, :3, :3].mT + frame[:, None, :3, 3] - frame.new_tensor([0, 0, 0.6])
    frame = frame.clone()
    frame[:, 2, 3] -= 0.6
    start = nearby(true)
    moved_start = matrix_to_pose(pose_to_matrix(start) @ torch.linalg.inv(frame))
    want = pose_to_matrix(levenberg_marquardt(problem, start, LONG).pose)
    got = levenberg_marquardt(dataclasses.replace(problem, points=moved), moved_start, LONG).pose
    torch.testing.assert_close(pose_to_matrix(got) @ frame, want, atol=1e-7, rtol=0)


def test_turning_the_picture_turns_the_pose() -> None:
    problem, true = problems(4, 20, noise_px=2)
    turn = axis_angle_to_matrix(torch.tensor([0, 0, 0.7], dtype=torch.float64))
    centre = problem.K[0, :2, 2]
    pixels = (problem.pixels - centre) @ turn[:2, :2].mT + centre
    rigid = torch.eye(4, dtype=torch.float64)
    rigid[:3, :3] = turn
    start = nearby(true)
    want = rigid @ pose_to_matrix(levenberg_marquardt(problem, start, LONG).pose)
    turned_start = matrix_to_pose(rigid @ pose_to_matrix(start))
    got = levenberg_marquardt(dataclasses.replace(problem, pixels=pixels), turned_start, LONG).pose
    torch.testing.assert_close(pose_to_matrix(got), want, atol=1e-7, rtol=0)


def test_order_of_points_and_sign_of_the_start_do_not_matter() -> None:
    problem, true = problems(4, 20, noise_px=2)
    start = nearby(true)
    want = levenberg_marquardt(problem, start)
    order = torch.randperm(20)
    shuffled = PnPProblem(
        problem.points[:, order], problem.pixels[:, order], problem.weights[:, order], problem.K
    )
    torch.testing.assert_close(levenberg_marquardt(shuffled, start).pose, want.pose)
    flipped = levenberg_marquardt(problem, start * start.new_tensor([1.0] * 3 + [-1.0] * 4))
    torch.testing.assert_close(pose_to_matrix(flipped.pose), pose_to_matrix(want.pose))


def test_the_covariance_is_the_scatter_of_solutions() -> None:
    problem, true = problems(1, 30)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, 30, 2, generator=generator, dtype=torch.float64)
    many = PnPProblem(
        problem.points.expand(2000, 30, 3),
        problem.pixels + noise,
        problem.weights.expand(2000, 30, 2),
        problem.K.expand(2000, 3, 3),
    )
    quadratic = PnPSpec(relative_threshold=1e3)
    poses = levenberg_marquardt(many, true.expand(2000, 7), quadratic).pose
    steps = torch.cat((poses - true)[:, None, :3].unbind(1), 0)
    scatter = steps.mT.cov()
    want = solution_at(problem, true, quadratic).covariance[0, :3, :3]
    torch.testing.assert_close(scatter.diagonal(), want.diagonal(), rtol=0.15, atol=0)


def test_what_cannot_be_solved_is_marked_and_disturbs_no_other() -> None:
    problem, true = problems(7, 12, noise_px=1, dtype=torch.float32)
    points, pixels, weights, intrinsics = (
        tensor.clone() for tensor in (problem.points, problem.pixels, problem.weights, problem.K)
    )
    points[1, 3, 0] = math.nan
    pixels[2, 0, 1] = math.inf
    weights[3, 3:] = 0  # three points are left
    intrinsics[4, 0, 0] = math.nan
    start = nearby(true)
    start[5, 4] = math.nan
    start[6, 3:] = 0
    broken = PnPProblem(points, pixels, weights, intrinsics)
    for solver in (levenberg_marquardt, gauss_newton):
        solution = solver(broken, start)
        assert solution.failed.tolist() == [False, *[True] * 6]
        assert torch.isfinite(solution.pose).all()
        assert torch.isnan(solution.cost[1:]).all()
        assert torch.isnan(solution.covariance[1:]).all()
        sound = solver(problem, nearby(true))
        torch.testing.assert_close(solution.pose[0], sound.pose[0])


def test_no_objects_and_no_points() -> None:
    problem, true = problems(2, 6)
    for objects, points in ((0, 6), (2, 0)):
        part = PnPProblem(
            problem.points[:objects, :points],
            problem.pixels[:objects, :points],
            problem.weights[:objects, :points],
            problem.K[:objects],
        )
        solution = levenberg_marquardt(part, true[:objects])
        assert solution.pose.shape == (objects, 7)
        assert solution.failed.all()


def test_errors_name_the_argument() -> None:
    problem, true = problems(2, 6)
    with pytest.raises(ValueError, match=r"levenberg_marquardt: `start` must be \[B,7\] with B=2"):
        levenberg_marquardt(problem, true[:1])


def test_the_radius_shrinks_by_two_then_four_then_eight() -> None:
    """Steps from a cost below which nothing is are never taken."""
    module = import_module("refkp.geometry.pnp.levenberg_marquardt")
    problem, pose = problems(2, 20)
    robust = RobustReprojection(problem, PnPSpec())
    state = module._evaluate(robust, nearby(pose))._replace(cost=torch.full((2,), -1e9).double())
    radius, decrease = torch.full((2,), 64.0).double(), torch.full((2,), 2.0).double()
    for want in (32.0, 8.0, 1.0):
        state, radius, decrease = module._iterate(robust, state, radius, decrease, 1e-5)
        assert radius.tolist() == [want, want]
