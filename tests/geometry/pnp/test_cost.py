"""The robust cost: its formula, derivatives, padding, chunks."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given, settings
from hypothesis import strategies as st

from refkp.geometry.pnp import PnPProblem, PnPSpec, RobustReprojection, move_pose, pose_cost, robust_threshold
from refkp.geometry.pnp import cost as cost_module
from tests.support.pnp_scenes import nearby, problems, project

SPEC = PnPSpec()


def weighted(problem: PnPProblem, seed: int = 0) -> PnPProblem:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(problem.weights.shape, generator=generator, dtype=problem.weights.dtype)
    return dataclasses.replace(problem, weights=weights)


def test_the_formula_point_by_point() -> None:
    problem, pose = problems(2, 7, noise_px=5)
    problem, pose = weighted(problem), nearby(pose)
    for b in range(2):
        pixels = problem.pixels[b]
        spread = sum(float(pixels[:, axis].var()) for axis in range(2)) ** 0.5
        delta = 0.5 * float(problem.weights[b].mean()) * spread
        assert robust_threshold(problem, 0.5)[b].item() == pytest.approx(delta)
        want = 0.0
        residual = problem.weights[b] * (project(problem.points, pose, problem.K)[b] - pixels)
        for length in residual.norm(dim=-1).tolist():
            want += length**2 / 2 if length <= delta else delta * length - delta**2 / 2
        assert pose_cost(problem, pose, SPEC)[b].item() == pytest.approx(want)


def test_zero_residual_at_the_truth() -> None:
    problem, pose = problems(4, 20)
    at = RobustReprojection(problem, SPEC).linearise(pose)
    assert at.residual.abs().max() < 1e-10
    assert at.cost.max() < 1e-20


def test_gradient_and_jacobian_are_the_derivatives() -> None:
    problem, pose = problems(3, 12, noise_px=20)
    problem, pose = weighted(problem), nearby(pose)
    robust = RobustReprojection(problem, SPEC)
    at = robust.linearise(pose)
    step = torch.zeros(3, 6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(robust.cost(move_pose(pose, step)).sum(), step)
    torch.testing.assert_close(at.gradient, gradient)
    torch.testing.assert_close(at.cost, robust.cost(pose))
    # Where no point is far, J is the Jacobian of the residual itself.
    gentle = RobustReprojection(problem, PnPSpec(relative_threshold=1e3))
    jacobian = torch.autograd.functional.jacobian(
        lambda step: gentle.linearise(move_pose(pose, step)).residual, torch.zeros(3, 6, dtype=torch.float64)
    )
    own = torch.stack([jacobian[b, :, b] for b in range(3)])
    torch.testing.assert_close(gentle.linearise(pose).jacobian, own)


def test_finite_differences_of_the_cost() -> None:
    problem, pose = problems(2, 6, noise_px=20)
    problem, pose = weighted(problem), nearby(pose)

    def cost(points: Tensor, weights: Tensor) -> Tensor:
        return pose_cost(dataclasses.replace(problem, points=points, weights=weights), pose, SPEC)

    inputs = [tensor.clone().requires_grad_() for tensor in (problem.points, problem.weights)]
    assert torch.autograd.gradcheck(cost, inputs)
    # The spread of the pixels in the threshold is a constant, so theirs is checked at a fixed threshold.
    robust = RobustReprojection(problem, SPEC)

    def at_fixed_threshold(pixels: Tensor) -> Tensor:
        robust.pixels = pixels
        return robust.cost(pose)

    assert torch.autograd.gradcheck(at_fixed_threshold, [problem.pixels.clone().requires_grad_()])


def test_padding_changes_nothing() -> None:
    problem, pose = problems(3, 10, noise_px=20)
    problem, pose = weighted(problem), nearby(pose)
    junk = torch.full((3, 4, 3), torch.nan, dtype=torch.float64)
    padded = PnPProblem(
        torch.cat((problem.points, junk), 1).requires_grad_(),
        torch.cat((problem.pixels, junk[..., :2]), 1),
        torch.cat((problem.weights, junk[..., :2]), 1).requires_grad_(),
        problem.K,
        (torch.arange(14) < 10).expand(3, 14),
    )
    torch.testing.assert_close(robust_threshold(padded, 0.5), robust_threshold(problem, 0.5))
    cost = pose_cost(padded, pose, SPEC)
    torch.testing.assert_close(cost, pose_cost(problem, pose, SPEC))
    cost.sum().backward()
    for tensor in (padded.points, padded.weights):
        assert (tensor.grad[:, 10:] == 0).all()
        assert torch.isfinite(tensor.grad).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_order_and_quaternion_sign_do_not_matter(seed: int) -> None:
    problem, pose = problems(2, 9, noise_px=10, seed=seed)
    problem, pose = weighted(problem, seed), nearby(pose, seed=seed)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    shuffled = PnPProblem(
        problem.points[:, order], problem.pixels[:, order], problem.weights[:, order], problem.K
    )
    want = pose_cost(problem, pose, SPEC)
    torch.testing.assert_close(pose_cost(shuffled, pose, SPEC), want)
    torch.testing.assert_close(pose_cost(problem, pose * pose.new_tensor([1.0] * 3 + [-1.0] * 4), SPEC), want)


def test_a_crop_with_weights_in_its_pixels_costs_the_same() -> None:
    problem, pose = problems(2, 9, noise_px=10)
    crop = torch.tensor([[0.4, 0, -30], [0, 0.4, 12], [0, 0, 1]], dtype=torch.float64)
    pixels = problem.pixels * 0.4 + crop[:2, 2]
    cropped = PnPProblem(problem.points, pixels, problem.weights / 0.4, crop @ problem.K)
    pose = nearby(pose)
    torch.testing.assert_close(pose_cost(cropped, pose, SPEC), pose_cost(problem, pose, SPEC))


def test_many_poses_are_computed_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, true = problems(2, 20, noise_px=5)
    problem.weights.requires_grad_()
    poses = torch.stack([nearby(true, seed=seed) for seed in range(64)]).unflatten(0, (4, 16))

    def run() -> tuple[Tensor, Tensor, int]:
        kept: list[int] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            cost = pose_cost(problem, poses, SPEC)
        (gradient,) = torch.autograd.grad(cost.square().sum(), problem.weights)
        return cost, gradient, max(kept)

    cost, gradient, largest = run()
    assert largest >= 64 * 2 * 20  # one value for every residual at least
    monkeypatch.setattr(cost_module, "CHUNK_RESIDUALS", 7 * 2 * 20)
    chunked_cost, chunked_gradient, chunked_largest = run()
    assert chunked_largest <= 7 * 2 * 20
    torch.testing.assert_close(chunked_cost, cost)
    torch.testing.assert_close(chunked_gradient, gradient)


def test_points_behind_the_camera_pull_nowhere() -> None:
    problem, pose = problems(1, 8)
    points = problem.points.clone()
    points[:, 0] = 10 * points.new_tensor([1.0, 1, 1])
    points[:, 1] = -points[:, 0]  # one of them is behind
    robust = RobustReprojection(dataclasses.replace(problem, points=points), SPEC)
    rows = robust.linearise(pose).jacobian.unflatten(1, (8, 2))[0]
    unclipped = robust.linearise(pose, clip=False).jacobian.unflatten(1, (8, 2))[0]
    still = (rows == 0).all(-1).all(-1)
    assert still.sum() == 1
    assert still[:2].any()
    assert (unclipped[still] != 0).any()


def test_autocast_changes_nothing() -> None:
    problem, pose = problems(2, 9, noise_px=10, dtype=torch.float32)
    want = RobustReprojection(problem, SPEC).linearise(pose)
    with torch.autocast("cpu", torch.bfloat16):
        got = RobustReprojection(problem, SPEC).linearise(pose)
        cost = pose_cost(problem, pose, SPEC)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    assert torch.equal(cost, pose_cost(problem, pose, SPEC))


def test_errors_name_the_argument() -> None:
    problem, pose = problems(2, 9)
    with pytest.raises(ValueError, match=r"`pixels` must be \[B,n,2\] with B=2, n=9"):
        dataclasses.replace(problem, pixels=problem.pixels[:, :5])
    with pytest.raises(ValueError, match="`points` must be of dtype float32, float64; got bfloat16"):
        dataclasses.replace(problem, points=problem.points.bfloat16())
    with pytest.raises(ValueError, match="`weights` must be of the dtype of `points`"):
        dataclasses.replace(problem, weights=problem.weights.float())
    with pytest.raises(ValueError, match="`pose` must be"):
        pose_cost(problem, pose[:1], SPEC)
    with pytest.raises(ValueError, match="`z_min` must be above 0"):
        PnPSpec(z_min=0.0)
    with pytest.raises(ValueError, match="`min_points` must be at least 4"):
        PnPSpec(min_points=3)
    with pytest.raises(ValueError, match="points` must be at least `min_points`"):
        PnPSpec(min_points=20)


def test_padding_and_points_without_weight_do_not_change_the_misfit() -> None:
    problem, pose = problems(3, 12, noise_px=3)
    robust = RobustReprojection(problem, PnPSpec())
    want = robust.misfit(robust.cost(pose))
    assert (want > 0).all()
    extra = torch.full((3, 20, 1), 7.0, dtype=torch.float64)
    padded = PnPProblem(
        torch.cat((problem.points, extra.expand(-1, -1, 3)), 1),
        torch.cat((problem.pixels, extra.expand(-1, -1, 2)), 1),
        torch.cat((problem.weights, extra.expand(-1, -1, 2)), 1),
        problem.K,
        (torch.arange(32) < 12).expand(3, 32),
    )
    again = RobustReprojection(padded, PnPSpec())
    torch.testing.assert_close(again.misfit(again.cost(pose)), want)
