"""The pose loss: EPro-PnP on the points of the predicted flow, weighted by the predicted precision.

Source: spec pose 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import fail
from refkp.geometry.pnp import (
    DerivativeLoss,
    MonteCarloLoss,
    NormFactor,
    PnPProblem,
    PnPSpec,
    derivative_loss,
    matrix_to_pose,
    monte_carlo_pose_loss,
    weight_scale,
)
from refkp.nn.ranks import Mean
from refkp.systems.pose.losses.correspondences import (
    PairPoints,
    metric_pose,
    object_generators,
    point_problem,
)
from refkp.systems.pose.views import PoseBatch


@dataclass(frozen=True)
class PoseLossSpec:
    """The pose loss.

    Args:
        weight: of the whole in the objective; 0 leaves it out.
        monte_carlo, translation, rotation: weights of its three parts.
        max_points: pixels drawn per object.
        log_scale: natural logarithm of the sum of all weights at the start; it is learnt.
        momentum: of the running mean of that sum, by which the Monte-Carlo loss is divided.
        start_at_truth: begin the solver at the true pose instead of searching for a start.
        solver: constants of EPro-PnP.
    """

    weight: float = 0.1
    monte_carlo: float = 0.2
    translation: float = 1.0
    rotation: float = 1.0
    max_points: int = 512
    log_scale: float = 3.0
    momentum: float = 0.01
    start_at_truth: bool = True
    solver: PnPSpec = field(default_factory=PnPSpec)

    def __post_init__(self) -> None:
        for name in ("weight", "monte_carlo", "translation", "rotation"):
            if getattr(self, name) < 0:
                fail("PoseLossSpec", name, "0 or more", getattr(self, name))
        if self.max_points < self.solver.min_points:
            fail("PoseLossSpec", "max_points", f"at least {self.solver.min_points}", self.max_points)


class PoseLossTerms(NamedTuple):
    """Means over objects."""

    monte_carlo: Mean  # over the objects that could be solved
    translation: Mean  # derivative loss, over the same
    rotation: Mean  # derivative loss, over the same
    skipped: Mean  # share of objects with too few points
    failed: Mean  # of the others, share of those whose solution is not finite


class PoseLoss(nn.Module):
    """EPro-PnP of a batch, with the learnt scale of its weights.

    Args:
        spec: constants.
    """

    def __init__(self, spec: PoseLossSpec) -> None:
        super().__init__()
        self.spec = spec
        self.log_scale = nn.Parameter(torch.full((2,), spec.log_scale))
        self.norm_factor = NormFactor(spec.momentum)

    def forward(self, points: PairPoints, batch: PoseBatch, patch_size: int) -> PoseLossTerms:
        """The loss of all objects with enough points; 0, attached to the graph, if there are none.

        Pixels and Monte-Carlo samples of an object are drawn from its key and the number of steps so far. So they
        are the same on whichever rank the object is, and in evaluation the same each time.

        Args:
            points: true pairs with their predictions; the probability of the true class weights them.
            batch: the views; the pose of the query is the truth.
            patch_size: p in pixels.
        """
        scale = self.log_scale.exp()
        generators = object_generators(batch.keys, int(self.norm_factor.num_updates), scale.device)
        problem = point_problem(
            points, batch, patch_size, scale, max_points=self.spec.max_points, generators=generators
        )
        enough = problem.is_valid.sum(1) >= self.spec.solver.min_points
        # All ranks average the factor together: also one without any object must take part.
        norm_factor = self.norm_factor(weight_scale(problem)[enough])
        if not bool(enough.any()):
            nothing = Mean(0.0 * (problem.pixels.sum() + problem.weights.sum() + scale.sum()), enough.sum())
            return PoseLossTerms(nothing, nothing, nothing, Mean.over(~enough), Mean.over(enough, enough))
        truth = matrix_to_pose(metric_pose(batch.query.cam_from_obj[enough])).float()
        solvable = PnPProblem(*(tensor[enough] for tensor in vars(problem).values()))
        generators = [each for each, kept in zip(generators, enough.tolist(), strict=True) if kept]
        monte_carlo, step = self._solved(solvable, truth, norm_factor, generators)
        return PoseLossTerms(
            Mean(monte_carlo.loss.sum(), (~monte_carlo.failed).sum()),
            Mean(step.translation.sum(), (~step.failed).sum()),
            Mean(step.rotation.sum(), (~step.failed).sum()),
            Mean.over(~enough),
            Mean.over(monte_carlo.failed | step.failed),
        )

    def _solved(
        self,
        problem: PnPProblem,
        truth: Tensor,
        norm_factor: Tensor,
        generators: Sequence[torch.Generator],
    ) -> tuple[MonteCarloLoss, DerivativeLoss]:
        start = truth if self.spec.start_at_truth else None
        posterior = monte_carlo_pose_loss(
            problem, truth, self.spec.solver, generators, start=start, norm_factor=norm_factor
        )
        return posterior, derivative_loss(problem, posterior.solution, truth, self.spec.solver)
