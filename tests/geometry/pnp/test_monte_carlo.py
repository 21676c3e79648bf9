"""Proposals, importance weights, and the loss with its gradient."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from refkp.geometry.pnp import (
    MonteCarloSpec,
    PnPProblem,
    PnPSpec,
    derivative_loss,
    first_proposal,
    fit_proposal,
    gauss_newton_step,
    importance_log_weights,
    levenberg_marquardt,
    monte_carlo_pose_loss,
    pose_cost,
    posterior_loss,
    sample_posterior,
    solution_at,
)
from refkp.verify.manifest import Array, load_arrays, load_cases
from tests.structure.tree import ROOT
from tests.support.pnp_scenes import nearby, problems

GOLDEN = ROOT / "golden"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def golden_problem(case_id: str) -> tuple[PnPProblem, dict[str, Tensor], PnPSpec]:
    if not GOLDEN.is_dir():
        pytest.skip("an unpacked source distribution holds no golden data")
    case = next(case for case in load_cases(Path(GOLDEN)) if case.id == case_id)
    stored: dict[str, Array] = load_arrays(case)
    arrays = {name: torch.from_numpy(array) for name, array in stored.items()}
    problem = PnPProblem(arrays["x3d"], arrays["x2d"], arrays["w2d"], arrays["K"])
    spec = PnPSpec(z_min=case.params["z_min"], relative_threshold=case.params["relative_delta"])
    return problem, arrays, spec


def test_densities_are_normalised() -> None:
    problem, true = problems(3, 20, noise_px=1)
    solution, constants = levenberg_marquardt(problem, true), MonteCarloSpec()
    proposal = first_proposal(solution, constants)
    spread = proposal.rotation_tril @ proposal.rotation_tril.mT + 1e-5 * torch.eye(4, dtype=torch.float64)
    wider = proposal._replace(
        translation_tril=1.5 * proposal.translation_tril, rotation_tril=torch.linalg.cholesky(spread)
    )
    poses = wider.sample(20000, generator())
    ratio = (proposal.log_density(poses) - wider.log_density(poses)).exp()
    torch.testing.assert_close(ratio.mean(0), torch.ones(3, dtype=torch.float64), atol=0.05, rtol=0)
    flipped = poses * poses.new_tensor([1.0] * 3 + [-1.0] * 4)
    torch.testing.assert_close(proposal.log_density(flipped), proposal.log_density(poses))


def test_the_fit_finds_the_proposal_that_drew_the_samples() -> None:
    problem, true = problems(2, 20, noise_px=1)
    constants = MonteCarloSpec(rotation_iterations=30)
    proposal = first_proposal(levenberg_marquardt(problem, true), constants)
    poses = proposal.sample(20000, generator())
    fitted = fit_proposal(poses, poses.new_zeros(20000, 2), constants)
    torch.testing.assert_close(fitted.centre, proposal.centre, atol=1e-3, rtol=0)
    gram, want = (tril @ tril.mT for tril in (fitted.rotation_tril, proposal.rotation_tril))
    torch.testing.assert_close(
        gram, want / want.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None], atol=0.02, rtol=0
    )


def test_the_weights_integrate_the_posterior() -> None:
    """Where exp(-cost) is a narrow Gaussian, its integral over both signs of q is known."""
    problem, true = problems(4, 40, noise_px=1)
    spec = PnPSpec(relative_threshold=1e3, iterations=20, monte_carlo=MonteCarloSpec(samples=4096))
    solution = levenberg_marquardt(problem, true, spec)
    population = sample_posterior(problem, solution, spec, generator())
    got = population.log_weights.logsumexp(0) - math.log(4096)
    want = math.log(2) + 3 * math.log(2 * math.pi) + 0.5 * torch.logdet(solution.covariance) - solution.cost
    torch.testing.assert_close(got, want, atol=0.1, rtol=0)


def test_all_weights_are_against_the_whole_mixture() -> None:
    problem, true = problems(2, 20, noise_px=2)
    spec = PnPSpec(monte_carlo=MonteCarloSpec(samples=30, iterations=3))
    population = sample_posterior(problem, levenberg_marquardt(problem, true, spec), spec, generator())
    assert population.poses.shape == (30, 2, 7)
    assert len(population.proposals) == 3
    for index, proposal in enumerate(population.proposals):
        torch.testing.assert_close(population.log_density[index], proposal.log_density(population.poses))
    mixture = population.log_density.exp().mean(0).log()
    torch.testing.assert_close(population.log_weights, -pose_cost(problem, population.poses, spec) - mixture)


def test_gradient_is_that_of_finite_differences_at_the_golden_problem() -> None:
    problem, arrays, spec = golden_problem("epropnp_mc_a")
    samples, densities = arrays["pose_samples"], arrays["proposal_logprob"]

    def loss(points: Tensor, weights: Tensor) -> Tensor:
        varied = dataclasses.replace(problem, points=points, weights=weights)
        log_weights = importance_log_weights(pose_cost(varied, samples, spec), densities)
        return (pose_cost(varied, arrays["pose_gt"], spec) + log_weights.logsumexp(0)).sum()

    inputs = [tensor.clone().requires_grad_() for tensor in (problem.points, problem.weights)]
    assert torch.autograd.gradcheck(loss, inputs, atol=1e-4, rtol=1e-5, fast_mode=True)
    # The composed loss with those samples has the same gradient: proposals and samples are constants.
    spec = dataclasses.replace(spec, monte_carlo=MonteCarloSpec(samples=64))
    leaves = [tensor.clone().requires_grad_() for tensor in (problem.points, problem.weights)]
    varied = dataclasses.replace(problem, points=leaves[0], weights=leaves[1])
    recorded = iter(samples.chunk(4))
    population = sample_posterior(
        varied, solution_at(varied, arrays["pose_opt"], spec), spec, draw=lambda *_: next(recorded)
    )
    composed = posterior_loss(varied, arrays["pose_gt"], population, spec).loss.sum()
    for got, want in zip(
        torch.autograd.grad(composed, leaves), torch.autograd.grad(loss(*inputs), inputs), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_gradient_of_the_step_is_that_of_finite_differences_at_the_golden_problem() -> None:
    problem, arrays, spec = golden_problem("epropnp_lm_a")

    def step(points: Tensor, weights: Tensor) -> Tensor:
        varied = dataclasses.replace(problem, points=points, weights=weights)
        return gauss_newton_step(varied, arrays["pose_iter5"], spec).pose

    inputs = [tensor.clone().requires_grad_() for tensor in (problem.points, problem.weights)]
    assert torch.autograd.gradcheck(step, inputs, atol=1e-5, rtol=1e-4)


def test_renaming_points_and_flipping_the_quaternion_change_nothing() -> None:
    problem, true = problems(2, 20, noise_px=2)
    order = torch.randperm(20)
    shuffled = PnPProblem(
        problem.points[:, order], problem.pixels[:, order], problem.weights[:, order], problem.K
    )
    flipped = true * true.new_tensor([1.0] * 3 + [-1.0] * 4)
    want = monte_carlo_pose_loss(problem, true, PnPSpec(), generator(), start=true).loss
    for other, pose in ((shuffled, true), (problem, flipped)):
        got = monte_carlo_pose_loss(other, pose, PnPSpec(), generator(), start=true).loss
        torch.testing.assert_close(got, want)


def test_the_loss_falls_when_the_weights_of_outliers_fall() -> None:
    problem, true = problems(4, 40, noise_px=1, outliers=0.3)
    losses = []
    for weight in (1.0, 0.3, 0.1, 0.01):
        weights = problem.weights.clone()
        weights[:, :12] = weight
        varied = dataclasses.replace(problem, weights=weights)
        losses.append(monte_carlo_pose_loss(varied, true, PnPSpec(), generator(), start=true).mean)
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
    problem.weights.requires_grad_()
    monte_carlo_pose_loss(problem, true, PnPSpec(), generator(), start=true).mean.backward()
    outliers, inliers = problem.weights.grad[:, :12].mean(), problem.weights.grad[:, 12:].mean()
    assert outliers > 0
    assert outliers > inliers


def test_the_norm_factor_divides_and_the_generator_decides() -> None:
    problem, true = problems(2, 20, noise_px=2)
    one, same, half = (
        monte_carlo_pose_loss(problem, true, PnPSpec(), generator(), norm_factor=factor).loss
        for factor in (1.0, 1.0, 2.0)
    )
    assert torch.equal(one, same)
    torch.testing.assert_close(half, one / 2)


def test_the_derivative_loss_is_that_of_the_next_step() -> None:
    problem, true = problems(3, 20, noise_px=3)
    solution = levenberg_marquardt(problem, nearby(true), PnPSpec(iterations=1))
    after = gauss_newton_step(problem, solution.pose)
    loss = derivative_loss(problem, solution, true)
    distance = (after.pose - true)[:, :3].norm(dim=-1)
    want = torch.nn.functional.smooth_l1_loss(distance, torch.zeros(3), beta=0.05, reduction="none")
    torch.testing.assert_close(loss.translation, want.double())
    torch.testing.assert_close(loss.rotation, 2 - 2 * (after.pose * true)[:, 3:].sum(-1).square())


def break_objects(problem: PnPProblem, true: Tensor, seed: int = 0) -> tuple[PnPProblem, list[Tensor]]:
    """Every object after the first is broken in its own way; the leaves that collect gradients."""
    points, pixels, weights = (tensor.clone() for tensor in (problem.points, problem.pixels, problem.weights))
    points[1] = points[1, 0]  # one point, n times
    pixels[2] = pixels[2, 0]
    points[3], pixels[3] = points[3, 0], pixels[3, 0]
    weights[4] = 0
    weights[5, 3:] = 0
    weights[6] = 1e-12
    weights[7] = 1e6
    points[8] -= 10 * torch.nn.functional.normalize(true[8, :3], dim=-1)  # some points behind the camera
    points[9] *= 1e4  # millimetres or worse
    points[10, 0, 0], pixels[11, 0], weights[12, 1] = math.nan, math.inf, math.nan
    points[13, :, 2] = 0  # a plane
    points[14, :, 1:] = 0  # a line
    points[15], weights[16] = 1e25, 1e20  # squares of residuals would overflow in single precision
    leaves = [tensor.requires_grad_() for tensor in (points, pixels, weights)]
    return PnPProblem(points, pixels, weights, problem.K), leaves


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("from_truth", [True, False])
def test_broken_objects_are_skipped_and_counted(dtype: torch.dtype, from_truth: bool) -> None:
    problem, true = problems(17, 30, noise_px=1, dtype=dtype)
    broken, leaves = break_objects(problem, true)
    loss = monte_carlo_pose_loss(broken, true, PnPSpec(), generator(), start=true if from_truth else None)
    step = derivative_loss(broken, loss.solution, true)
    must_fail = [4, 5, 10, 11, 12, *([15, 16] if dtype == torch.float32 else [])]
    assert loss.failed[must_fail].all()
    assert step.failed[must_fail].all()
    assert not loss.failed[[0, 13]].any()
    assert loss.num_failed == loss.failed.sum()
    assert (loss.loss[loss.failed] == 0).all()
    torch.testing.assert_close(loss.mean, loss.loss[~loss.failed].mean())
    (loss.mean + sum(step.means)).backward()
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad[must_fail] == 0).all()
        assert (leaf.grad[0] != 0).any()


def test_a_batch_without_a_sound_object_is_zero_and_attached() -> None:
    problem, true = problems(2, 10)
    problem = dataclasses.replace(problem, weights=torch.zeros_like(problem.weights).requires_grad_())
    loss = monte_carlo_pose_loss(problem, true, PnPSpec(), generator())
    assert loss.mean.item() == 0
    assert loss.num_failed == 2
    loss.mean.backward()
    assert (problem.weights.grad == 0).all()


@pytest.mark.parametrize("element", [(1, 0, math.nan), (1, slice(3, 7), 0.0)])
def test_a_true_pose_that_is_none_is_skipped(element: tuple[int, int | slice, float]) -> None:
    problem, true = problems(2, 10, noise_px=1)
    problem.weights.requires_grad_()
    true = true.clone()
    true[element[0], element[1]] = element[2]
    loss = monte_carlo_pose_loss(problem, true, PnPSpec(), generator())
    step = derivative_loss(problem, loss.solution, true)
    assert loss.failed.tolist() == step.failed.tolist() == [False, True]
    (loss.mean + sum(step.means)).backward()
    assert torch.isfinite(problem.weights.grad).all()


def test_autocast_changes_nothing() -> None:
    problem, true = problems(2, 20, noise_px=2, dtype=torch.float32)
    want = monte_carlo_pose_loss(problem, true, PnPSpec(), generator())
    with torch.autocast("cpu", torch.bfloat16):
        got = monte_carlo_pose_loss(problem, true, PnPSpec(), generator())
        step = derivative_loss(problem, got.solution, true)
    assert torch.equal(got.loss, want.loss)
    assert torch.equal(step.rotation, derivative_loss(problem, want.solution, true).rotation)


def test_samples_must_divide_into_iterations() -> None:
    with pytest.raises(ValueError, match="`samples` must be a positive multiple of `iterations`"):
        MonteCarloSpec(samples=10, iterations=4)
