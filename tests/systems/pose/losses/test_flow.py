"""Flow likelihood and metrics: formulas, invisible pixels, empty sets, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.systems.pose.losses.flow import flow_metrics, laplace_flow_loss, robust_flow_loss


def pixels(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flow, target with NaN where nothing is visible, visibility, scale."""
    generator = torch.Generator().manual_seed(seed)
    flow, target = torch.randn(2, 3, 4, 4, 2, generator=generator, dtype=torch.float64)
    visible = torch.rand(3, 4, 4, generator=generator) < 0.6
    scale = torch.rand(3, 4, 4, generator=generator, dtype=torch.float64) + 0.1
    return flow, target.masked_fill(~visible[..., None], torch.nan), visible, scale


def test_metrics_pixel_by_pixel() -> None:
    flow, target, visible, _ = pixels()
    errors = [math.hypot(*(flow - target)[tuple(index)].tolist()) for index in visible.nonzero().tolist()]
    got = flow_metrics(flow.requires_grad_(), target, visible)
    assert got.mae.value.item() == pytest.approx(sum(errors) / len(errors))
    assert got.rmse.value.item() == pytest.approx((sum(r * r for r in errors) / len(errors)) ** 0.5)
    assert got.valid_ratio.value.item() == pytest.approx(len(errors) / 48)
    assert (got.mae.count, got.rmse.count, got.valid_ratio.count) == (len(errors), len(errors), 48)
    assert not any(mean.sum.requires_grad for mean in got)


def test_the_likelihood_pixel_by_pixel() -> None:
    flow, target, visible, scale = pixels()
    total = invisible = 0.0
    for index in torch.ones(3, 4, 4).nonzero().tolist():
        spread = float(scale[tuple(index)]) + 1e-4
        if visible[tuple(index)]:
            error = float((flow - target)[tuple(index)].abs().sum())
            total += error / spread + 2 * math.log(spread)
        else:
            invisible += 1 / spread
    got = laplace_flow_loss(flow, scale, target, visible, invisible_weight=0.3)
    count = int(visible.sum())
    assert got.loss.value.item() == pytest.approx(total / count)
    assert got.invisible.value.item() == pytest.approx(0.3 * invisible / (48 - count))
    assert (got.loss.count, got.invisible.count) == (count, 48 - count)


def test_the_likelihood_is_least_at_the_mean_error() -> None:
    """For L1 error e per pixel in all, d/db (e/b + 2 log b) = 0 at b = e/2."""
    error = torch.tensor([[0.3, 0.5]])
    scale = torch.tensor([0.4], requires_grad=True)
    laplace_flow_loss(error, scale, torch.zeros(1, 2), torch.ones(1), eps=0.0).loss.value.backward()
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", ["l1", "huber"])
def test_robust_errors_pixel_by_pixel(kind: Any) -> None:
    flow, target, visible, _ = pixels()
    total = 0.0
    for index in visible.nonzero().tolist():
        dx, dy = (flow - target)[tuple(index)].tolist()
        r = math.hypot(dx, dy)
        huber = r * r / 2 if r <= 0.7 else 0.7 * (r - 0.35)
        total += abs(dx) + abs(dy) if kind == "l1" else huber
    got = robust_flow_loss(flow, target, visible, kind=kind, delta=0.7)
    assert got.value.item() == pytest.approx(total / int(visible.sum()))
    assert got.count == visible.sum()


@pytest.mark.parametrize("kind", ["l1", "huber"])
def test_gradients_of_robust_errors(kind: Any) -> None:
    flow, target, visible, _ = pixels()
    given = (flow.clone().requires_grad_(),)
    assert torch.autograd.gradcheck(
        lambda f: robust_flow_loss(f, target, visible, kind=kind, delta=0.7).value, given
    )
    exact = torch.zeros(4, 2, requires_grad=True)
    robust_flow_loss(exact, torch.zeros(4, 2), torch.ones(4, dtype=torch.bool), kind=kind).value.backward()
    assert exact.grad is not None
    assert not exact.grad.any()


def test_gradients_are_those_of_finite_differences() -> None:
    flow, target, visible, scale = pixels()
    flow, scale = (tensor.clone().requires_grad_() for tensor in (flow, scale))

    def both(flow: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        terms = laplace_flow_loss(flow, scale, target, visible)
        return terms.loss.value, terms.invisible.value

    assert torch.autograd.gradcheck(both, (flow, scale))


def test_an_exact_flow_has_a_finite_gradient() -> None:
    flow = torch.zeros(4, 2, requires_grad=True)
    laplace_flow_loss(flow, torch.ones(4), torch.zeros(4, 2), torch.ones(4)).loss.value.backward()
    assert flow.grad is not None
    assert torch.isfinite(flow.grad).all()


@pytest.mark.parametrize("size", [0, 5])
def test_nothing_visible_is_zero_and_attached(size: int) -> None:
    flow, scale = torch.randn(size, 2, requires_grad=True), torch.rand(size, requires_grad=True)
    target, visible = torch.full((size, 2), torch.nan), torch.zeros(size, dtype=torch.bool)
    likelihood, robust = (
        laplace_flow_loss(flow, scale, target, visible),
        robust_flow_loss(flow, target, visible),
    )
    assert likelihood.loss.value == robust.value == 0
    assert [mean.value.item() for mean in flow_metrics(flow, target, visible)] == [0.0] * 3
    assert (likelihood.invisible.value > 0) == (size > 0)
    (likelihood.loss.value + robust.value).backward()
    for tensor in (flow, scale):
        assert tensor.grad is not None
        assert not tensor.grad.any()


def test_half_precision_is_computed_in_single() -> None:
    flow, target, visible, scale = pixels()
    half = laplace_flow_loss(flow.bfloat16(), scale.bfloat16(), target.float(), visible)
    assert half.loss.value.dtype == half.invisible.value.dtype == torch.float32
    assert torch.isfinite(half.loss.value)


def test_errors_name_the_argument() -> None:
    flow, target, visible, scale = pixels()
    with pytest.raises(ValueError, match="laplace_flow_loss: `scale` must be"):
        laplace_flow_loss(flow, scale[..., :2], target, visible)
    with pytest.raises(ValueError, match=r"`kind` must be one of 'l1', 'huber'"):
        robust_flow_loss(flow, target, visible, kind="l2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="flow_metrics: `target` must be of the shape of `flow`"):
        flow_metrics(flow, target[:1], visible)
