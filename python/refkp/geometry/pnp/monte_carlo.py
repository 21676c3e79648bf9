"""The probability of the true pose among all poses, by adaptive importance sampling, as a training loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.pnp.centring import centred_about, pose_about, solution_about, weighted_mean
from refkp.geometry.pnp.cost import RobustReprojection
from refkp.geometry.pnp.draws import Generators
from refkp.geometry.pnp.initialisation import solve_centred
from refkp.geometry.pnp.levenberg_marquardt import PnPSolution
from refkp.geometry.pnp.pose import sound_pose
from refkp.geometry.pnp.precision import full_precision
from refkp.geometry.pnp.problem import PnPProblem, PnPSpec
from refkp.geometry.pnp.proposals import Proposal, first_proposal, fit_proposal

#: Draws poses [m,B,7] from a proposal.
Draw = Callable[[Proposal, int], Tensor]


class Population(NamedTuple):
    """Weighted samples of the pose posterior of B objects, from I proposals."""

    poses: Tensor  # [m,B,7]
    cost: Tensor  # [m,B], with gradient to the problem
    log_density: Tensor  # [I,m,B], of every sample under every proposal
    log_weights: Tensor  # [m,B], with gradient to the problem
    proposals: tuple[Proposal, ...]
    solution: PnPSolution  # that the first proposal lies around
    failed: Tensor  # bool [B]


class MonteCarloLoss(NamedTuple):
    """The loss of each object and what it was made of."""

    loss: Tensor  # [B], 0 without gradient where it failed
    cost_true: Tensor  # [B], robust cost at the true pose
    failed: Tensor  # bool [B]
    solution: PnPSolution  # that the samples lie around
    population: Population

    @property
    def num_failed(self) -> Tensor:
        """How many objects were skipped, int64 scalar."""
        return self.failed.sum()

    @property
    def mean(self) -> Tensor:
        """Mean over the objects that did not fail; 0 if all did."""
        return self.loss.sum() / (~self.failed).sum().clamp(min=1)


@full_precision
def monte_carlo_pose_loss(
    problem: PnPProblem,
    pose_true: Tensor,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
    generator: Generators = None,
    *,
    start: Tensor | None = None,
    norm_factor: float | Tensor = 1.0,
) -> MonteCarloLoss:
    """Negative log probability of the true pose under the posterior that the correspondences define.

    Solve, sample around the solution, weigh: loss = (cost(true) + log sum_j exp(log weight_j))/norm_factor,
    up to a constant the KL divergence between a Dirac at the truth and p(pose) ~ exp(-cost). It asks for
    weights that make the true pose likely and every other one unlikely. As in `solve`, it does not matter where
    the origin of the object's frame is: the samples are poses about the weighted mean of the points.

    Args:
        problem: B objects; gradients reach points, pixels and weights, through the costs alone.
        pose_true: [B,7].
        spec: the constants.
        generator: of the samples and the start, on the device of the problem.
        start: [B,7] where the solver begins, e.g. the truth; None: random restarts (`initial_pose`).
        norm_factor: what the loss is divided by: the usual scale of the weights (`NormFactor`).

    Returns:
        The loss of each object, with the solution and the samples that it was made of.

    Raises:
        ValueError: a shape does not fit. Objects that cannot be solved are skipped and counted.

    Source: spec pose 4.4.
    """
    problem.require_pose("monte_carlo_pose_loss", "pose_true", pose_true)
    if start is not None:
        problem.require_pose("monte_carlo_pose_loss", "start", start)
    centre = weighted_mean(problem, spec)
    about, true = centred_about(problem, centre), pose_about(pose_true, centre)
    start = None if start is None else pose_about(start, centre)
    solution = solve_centred(about, spec, generator, start=start)
    population = sample_posterior(about, solution, spec, generator)
    result = posterior_loss(about, true, population, spec, norm_factor=norm_factor)
    return result._replace(solution=solution_about(solution, -centre))


@full_precision
def sample_posterior(
    problem: PnPProblem,
    solution: PnPSolution,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
    generator: Generators = None,
    *,
    draw: Draw | None = None,
) -> Population:
    """Samples of p(pose) ~ exp(-cost) by adaptive multiple importance sampling.

    The first proposal lies around the solution, each later one fits all samples before it. After each
    iteration the weights of ALL samples are computed anew against the mixture of the proposals so far:
    log w_j = -cost_j - (logsumexp_i log density_i(j) - log I).

    Args:
        problem: B objects.
        solution: of the same problem.
        spec: `monte_carlo` and the constants of the cost.
        generator: of the samples.
        draw: replaces `Proposal.sample`, e.g. by recorded samples.

    Returns:
        The samples. Poses and proposals are constants; costs have gradients to the problem.

    Source: spec pose 4.4.
    """
    robust, constants = RobustReprojection(problem, spec), spec.monte_carlo
    chunk = constants.samples // constants.iterations
    proposals = [first_proposal(solution, constants)]
    poses: list[Tensor] = []
    costs: list[Tensor] = []
    for index in range(constants.iterations):
        with torch.no_grad():
            poses.append(draw(proposals[-1], chunk) if draw else proposals[-1].sample(chunk, generator))
        costs.append(robust.cost(poses[-1]))
        cost, everything = torch.cat(costs), torch.cat(poses)
        log_density = torch.stack([proposal.log_density(everything) for proposal in proposals])
        log_weights = importance_log_weights(cost, log_density)
        if index + 1 < constants.iterations:
            proposals.append(fit_proposal(everything, log_weights.detach(), constants))
    failed = torch.stack([proposal.failed for proposal in proposals]).any(0) | ~robust.usable
    failed = failed | ~torch.isfinite(log_weights.detach()).all(0)
    return Population(everything, cost, log_density, log_weights, tuple(proposals), solution, failed)


def importance_log_weights(cost: Tensor, log_density: Tensor) -> Tensor:
    """Log weights [m,B] of samples with costs [m,B] under the mixture of proposals [I,m,B]."""
    return -cost - (log_density.logsumexp(0) - math.log(len(log_density)))


@full_precision
def posterior_loss(
    problem: PnPProblem,
    pose_true: Tensor,
    population: Population,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
    *,
    norm_factor: float | Tensor = 1.0,
) -> MonteCarloLoss:
    """(cost(true) + log sum_j exp(log weight_j))/norm_factor of a population; see `monte_carlo_pose_loss`."""
    robust = RobustReprojection(problem, spec)
    true, bad = sound_pose(pose_true)
    cost_true = robust.cost(true)
    failed = population.failed | bad
    log_weights = torch.where(failed, 0.0, population.log_weights)
    loss = (cost_true + log_weights.logsumexp(0)) / norm_factor
    failed = failed | ~torch.isfinite(loss.detach())
    return MonteCarloLoss(torch.where(failed, 0.0, loss), cost_true, failed, population.solution, population)
