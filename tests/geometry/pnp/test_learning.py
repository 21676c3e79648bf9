"""Weights learnt through the pose losses make the solver better, on problems never seen too."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from refkp.geometry.pnp import (
    MonteCarloSpec,
    NormFactor,
    PnPProblem,
    PnPSpec,
    derivative_loss,
    monte_carlo_pose_loss,
    pose_error,
    solve,
    weight_scale,
)
from tests.support.pnp_scenes import problems

OBJECTS, POINTS = 16, 30
SPEC = PnPSpec(monte_carlo=MonteCarloSpec(samples=64))


def noisy_set(seed: int) -> tuple[PnPProblem, Tensor, Tensor]:
    """Problems whose points are off by 0.3 px or 15 px; features [B,n,3], one of which tells which."""
    problem, true = problems(OBJECTS, POINTS, seed=seed, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    bad = torch.rand(OBJECTS, POINTS, generator=generator) < 0.6
    noise = torch.randn(OBJECTS, POINTS, 2, generator=generator) * torch.where(bad, 15.0, 0.3)[..., None]
    features = torch.randn(OBJECTS, POINTS, 3, generator=generator)
    features[..., 0] = bad + 0.2 * features[..., 0]
    return dataclasses.replace(problem, pixels=problem.pixels + noise), true, features


class Weights(nn.Module):
    """Softmax over the points of a linear map of their features, times a global scale."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.full((2,), 3.0))
        nn.init.zeros_(self.logits.weight)

    def forward(self, problem: PnPProblem, features: Tensor) -> PnPProblem:
        weights = self.logits(features).softmax(1) * self.scale.exp()
        return dataclasses.replace(problem, weights=weights)


def mean_error(problem: PnPProblem, true: Tensor) -> float:
    solution = solve(problem, PnPSpec(iterations=15), start=true)
    return pose_error(solution.pose, true).rotation.rad2deg().mean().item()


def test_training_the_weights_lowers_the_pose_error() -> None:
    train, held_out = noisy_set(seed=0), noisy_set(seed=1)
    model, norm_factor = Weights(), NormFactor()
    generator = torch.Generator().manual_seed(0)
    before = [mean_error(model(problem, features), true) for problem, true, features in (train, held_out)]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    problem, true, features = train
    for _ in range(18):
        weighted = model(problem, features)
        factor = norm_factor(weight_scale(weighted))
        likelihood = monte_carlo_pose_loss(weighted, true, SPEC, generator, start=true, norm_factor=factor)
        step = derivative_loss(weighted, likelihood.solution, true, SPEC)
        assert likelihood.num_failed == 0
        optimizer.zero_grad()
        (likelihood.mean + 0.1 * sum(step.means)).backward()
        optimizer.step()
    after = [mean_error(model(problem, features), true) for problem, true, features in (train, held_out)]
    for first, last in zip(before, after, strict=True):
        assert last < 0.4 * first
    assert model.logits.weight[:, 0].max() < -2
