"""From the true flow to the true pose: the points of a batch are exact, sampled by weight, and differentiable."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.pnp import PnPProblem, matrix_to_pose, pose_error, solve
from refkp.systems.pose.losses.correspondences import (
    PairPoints,
    match_log_probability,
    metric_pose,
    object_generators,
    point_problem,
)
from refkp.systems.pose.model.flow import PairPrediction
from refkp.systems.pose.model.pairs import pairs_from_labels
from refkp.systems.pose.targets import pose_targets
from refkp.systems.pose.views import PoseBatch
from tests.systems.pose.scenes import select, sphere_batch

P = 8


def drawn_problem(points: PairPoints, batch: PoseBatch, scale: torch.Tensor, max_points: int) -> PnPProblem:
    """The problem of the first step."""
    generators = object_generators(batch.keys, 0, "cpu")
    return point_problem(points, batch, P, scale, max_points=max_points, generators=generators)


def true_points(batch: PoseBatch) -> PairPoints:
    """The truth in place of predictions; pixels that are hidden get next to no weight."""
    targets = pose_targets(batch.query, batch.templates, P)
    pairs = pairs_from_labels(targets.labels, targets.labels.shape[-1])
    at = (pairs.b, pairs.s, pairs.query)
    scale = torch.where(targets.visible[at], 0.02, 1e6)
    return PairPoints(pairs, PairPrediction(targets.flow[at], scale), torch.zeros(len(pairs.b)))


def test_the_true_flow_gives_the_true_pose() -> None:
    batch = sphere_batch(3)
    problem = drawn_problem(true_points(batch), batch, torch.full((2,), 20.0), 300)
    solution = solve(problem, generator=torch.Generator().manual_seed(0))
    error = pose_error(solution.pose, matrix_to_pose(metric_pose(batch.query.cam_from_obj)).float())
    assert not solution.failed.any()
    assert float(torch.rad2deg(error.rotation).max()) < 0.05
    assert float(error.translation.max()) < 1e-3  # of 0.4 m


def test_weights_sum_to_the_scale_and_follow_precision_and_probability() -> None:
    batch = sphere_batch(1)
    points = true_points(batch)
    scale = torch.tensor([3.0, 5.0])
    problem = drawn_problem(points, batch, scale, 200)
    assert problem.valid is not None
    torch.testing.assert_close(problem.weights.sum(1)[0], scale)
    half = points.prediction._replace(scale=points.prediction.scale.clone())
    half.scale[: len(half.scale) // 2] *= 3
    doubted = PairPoints(points.pairs, half, points.log_probability)
    weights = drawn_problem(doubted, batch, scale, 10**6).weights[0, :, 0]
    visible = weights[weights > 1e-6]
    assert float(visible.max() / visible.min()) == pytest.approx(3.0, rel=1e-3)


def test_pixels_are_drawn_by_weight() -> None:
    """A thousandth of the weight is drawn about a thousandth as often."""
    batch = sphere_batch(1)
    points = true_points(batch)
    points.prediction.scale[:] = 0.1
    points.prediction.scale[: len(points.prediction.scale) // 2] *= 1000
    problem = drawn_problem(points, batch, torch.ones(2), 100)
    weights = problem.weights[0, :, 0]
    assert (weights > weights.max() / 10).sum() > 95


def test_an_object_draws_the_same_points_in_whatever_batch() -> None:
    """Also where the others have more of them, or none."""
    batch = sphere_batch(3)
    together = drawn_problem(true_points(batch), batch, torch.ones(2), 100)
    for index in range(3):
        alone = select(batch, [index])
        own = drawn_problem(true_points(alone), alone, torch.ones(2), 100)
        for name in ("points", "pixels", "weights", "is_valid"):
            torch.testing.assert_close(getattr(own, name)[0], getattr(together, name)[index])
    assert not torch.equal(together.points[0], together.points[1])


def test_generators_differ_by_object_and_step() -> None:
    draws = {
        float(torch.rand((), generator=generator))
        for step in (0, 1)
        for generator in object_generators(("000001_000002", "000001_000003"), step, "cpu")
    }
    assert len(draws) == 4


def test_objects_without_pairs_are_rows_of_padding() -> None:
    batch = sphere_batch(3)
    batch.query.masks[1] = False
    problem = drawn_problem(true_points(batch), batch, torch.ones(2), 50)
    assert problem.valid is not None
    assert problem.valid.sum(1).tolist() == [50, 0, 50]
    assert torch.isfinite(problem.points).all()
    assert not problem.weights[1].any()
    batch.query.masks[:] = False
    nothing = drawn_problem(true_points(batch), batch, torch.ones(2), 50)
    assert nothing.is_valid.sum(1).tolist() == [0, 0, 0]


def test_template_pixels_without_depth_are_left_out() -> None:
    batch = sphere_batch(1)
    points = true_points(batch)
    batch.templates.depth[:, :, :, ::2] = torch.nan
    batch.templates.depth[:, :, ::2] = 0
    problem = drawn_problem(points, batch, torch.ones(2), 10**6)
    assert torch.isfinite(problem.points[problem.is_valid]).all()
    pairs = len(points.pairs.b)
    assert 0 < int(problem.is_valid.sum()) <= pairs * P * P // 4


def test_probability_of_a_match() -> None:
    logits = torch.randn(2, 3, 4, 5)
    pairs = pairs_from_labels(torch.randint(0, 4, (2, 3, 4)), 4)
    wanted = logits.softmax(-1)[pairs.b, pairs.s, pairs.query, pairs.template]
    torch.testing.assert_close(match_log_probability(logits, pairs).exp(), wanted)
