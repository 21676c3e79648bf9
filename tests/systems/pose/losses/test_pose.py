"""The pose loss: smallest at the truth, gradient to flow, precision, class and scale, failures counted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from refkp.geometry.pnp import MonteCarloLoss
from refkp.systems.pose.losses import pose
from refkp.systems.pose.losses.correspondences import PairPoints
from refkp.systems.pose.losses.pose import PoseLoss, PoseLossSpec
from refkp.systems.pose.model.flow import PairPrediction
from refkp.verify.ranks import run_ranks
from tests.systems.pose.losses.test_correspondences import P, true_points
from tests.systems.pose.scenes import sphere_batch


def test_the_truth_is_better_than_a_shifted_or_noisy_flow() -> None:
    batch = sphere_batch(2)
    loss, points = PoseLoss(PoseLossSpec()).eval(), true_points(batch)
    generator = torch.Generator().manual_seed(0)
    noise = 0.5 * torch.randn(points.prediction.flow.shape, generator=generator)
    totals = []
    for flow in (points.prediction.flow, points.prediction.flow + 0.3, points.prediction.flow + noise):
        changed = points._replace(prediction=points.prediction._replace(flow=flow))
        terms = loss(changed, batch, P)
        totals.append(
            [terms.monte_carlo.value.item(), (terms.translation.value + terms.rotation.value).item()]
        )
        assert (int(terms.skipped.sum), int(terms.failed.sum)) == (0, 0)
    assert totals[0][0] < min(totals[1][0], totals[2][0])
    assert totals[0][1] < 1e-3 < totals[1][1]


def test_gradient_reaches_flow_precision_probability_and_scale() -> None:
    batch = sphere_batch(2)
    points = true_points(batch)
    flow = (points.prediction.flow + 0.1 * torch.randn_like(points.prediction.flow)).requires_grad_()
    scale = points.prediction.scale.clone().requires_grad_()
    log_probability = torch.randn(len(points.pairs.b), requires_grad=True)
    loss = PoseLoss(PoseLossSpec())
    terms = loss(PairPoints(points.pairs, PairPrediction(flow, scale), log_probability), batch, P)
    (terms.monte_carlo.value + terms.translation.value + terms.rotation.value).backward()
    for tensor in (flow, scale, log_probability, loss.log_scale):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
        assert tensor.grad.any()


def test_objects_with_too_few_points_are_skipped_and_counted() -> None:
    batch = sphere_batch(3)
    batch.query.masks[1] = False
    terms = PoseLoss(PoseLossSpec())(true_points(batch), batch, P)
    assert (int(terms.skipped.sum), int(terms.failed.sum)) == (1, 0)
    assert (int(terms.monte_carlo.count), int(terms.failed.count)) == (2, 2)
    assert torch.isfinite(terms.monte_carlo.value)


def test_means_are_over_the_objects_that_did_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = sphere_batch(3)
    solved = pose.monte_carlo_pose_loss
    seen = []

    def with_a_failure(*arguments: Any, **options: Any) -> MonteCarloLoss:
        result = solved(*arguments, **options)
        failed = torch.tensor([False, True, False])
        seen.append(result.loss.detach())
        return result._replace(loss=torch.where(failed, 0.0, result.loss), failed=failed)

    monkeypatch.setattr(pose, "monte_carlo_pose_loss", with_a_failure)
    terms = PoseLoss(PoseLossSpec())(true_points(batch), batch, P)
    assert (int(terms.failed.sum), int(terms.failed.count), int(terms.monte_carlo.count)) == (1, 3, 2)
    torch.testing.assert_close(terms.monte_carlo.value, seen[0][[0, 2]].mean())


def test_a_batch_without_points_is_zero_on_the_graph() -> None:
    batch = sphere_batch(2)
    batch.query.masks[:] = False
    points, loss = true_points(batch), PoseLoss(PoseLossSpec())
    points.prediction.flow.requires_grad_()
    terms = loss(points, batch, P)
    assert (terms.monte_carlo.value.item(), int(terms.skipped.sum)) == (0.0, 2)
    terms.monte_carlo.value.backward()
    assert loss.log_scale.grad is not None
    assert points.prediction.flow.grad is not None


def _on_rank(has_object: bool) -> dict[str, torch.Tensor]:
    batch = sphere_batch(1)
    if not has_object:
        batch.query.masks[:] = False
    loss = PoseLoss(PoseLossSpec(log_scale=2.0))
    loss(true_points(batch), batch, P)
    return {"value": loss.norm_factor.value.clone()}


def test_a_rank_without_points_takes_part_in_the_running_scale() -> None:
    """A rank that left it out would leave the others waiting."""
    results = run_ranks(_on_rank, [(True,), (False,)])
    assert [result["value"].item() for result in results] == [pytest.approx(math.exp(2), rel=1e-4)] * 2


def test_the_running_scale_is_kept_in_the_state() -> None:
    batch = sphere_batch(1)
    loss = PoseLoss(PoseLossSpec(log_scale=2.0))
    loss(true_points(batch), batch, P)
    state = loss.state_dict()
    assert float(state["norm_factor.value"]) == pytest.approx(float(torch.tensor(2.0).exp()), rel=1e-4)
    other = PoseLoss(PoseLossSpec())
    other.load_state_dict(state)
    assert float(other.norm_factor.value) == float(loss.norm_factor.value)


def test_errors() -> None:
    with pytest.raises(ValueError, match="`weight` must be 0 or more"):
        PoseLossSpec(weight=-1.0)
    with pytest.raises(ValueError, match="`max_points` must be at least 4"):
        replace(PoseLossSpec(), max_points=3)
