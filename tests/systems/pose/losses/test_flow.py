"""Flow losses: formulas, invisible pixels, empty sets, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.systems.pose.losses.flow import center_flow_loss, flow_loss, laplace_flow_loss


def pixels(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flow, target with NaN where nothing is visible, visibility, scale."""
    generator = torch.Generator().manual_seed(seed)
    flow, target = torch.randn(2, 3, 4, 4, 2, generator=generator, dtype=torch.float64)
    visible = torch.rand(3, 4, 4, generator=generator) < 0.6
    scale = torch.rand(3, 4, 4, generator=generator, dtype=torch.float64) + 0.1
    return flow, target.masked_fill(~visible[..., None], torch.nan), visible, scale


@pytest.mark.parametrize("kind", ["l1", "huber"])
@pytest.mark.parametrize("weighted", [False, True])
def test_robust_losses_pixel_by_pixel(kind: Any, weighted: bool) -> None:
    flow, target, visible, confidence = pixels()
    errors, total = [], 0.0
    for index in visible.nonzero().tolist():
        dx, dy = (flow - target)[tuple(index)].tolist()
        r = math.hypot(dx, dy)
        huber = r * r / 2 if r <= 0.7 else 0.7 * (r - 0.35)
        loss = abs(dx) + abs(dy) if kind == "l1" else huber
        total += loss * (float(confidence[tuple(index)]) if weighted else 1.0)
        errors.append(r)
    got = flow_loss(flow, target, visible, kind=kind, delta=0.7, confidence=confidence if weighted else None)
    assert got.loss.item() == pytest.approx(total / len(errors))
    assert got.metrics.mae.item() == pytest.approx(sum(errors) / len(errors))
    assert got.metrics.rmse.item() == pytest.approx((sum(r * r for r in errors) / len(errors)) ** 0.5)
    assert got.metrics.valid_ratio.item() == pytest.approx(len(errors) / 48)


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
    got = laplace_flow_loss(flow, scale, target, visible, lambda_invisible=0.3)
    count = int(visible.sum())
    assert got.loss.item() == pytest.approx(total / count)
    assert got.invisible.item() == pytest.approx(0.3 * invisible / (48 - count))
    torch.testing.assert_close(got.pnp_weights, visible.double() / (scale + 1e-4))


def test_the_likelihood_is_least_at_the_mean_error() -> None:
    """For L1 error e per pixel in all, d/db (e/b + 2 log b) = 0 at b = e/2."""
    error = torch.tensor([[0.3, 0.5]])
    scale = torch.tensor([0.4], requires_grad=True)
    laplace_flow_loss(error, scale, torch.zeros(1, 2), torch.ones(1), eps=0.0).loss.backward()
    assert scale.grad.item() == pytest.approx(0.0, abs=1e-6)


def test_gradients_are_those_of_finite_differences() -> None:
    flow, target, visible, scale = pixels()
    flow, scale = (tensor.clone().requires_grad_() for tensor in (flow, scale))
    for kind in ("l1", "huber"):
        assert torch.autograd.gradcheck(
            lambda f, c, kind=kind: flow_loss(f, target, visible, kind=kind, confidence=c).loss,
            (flow, scale),
        )
    assert torch.autograd.gradcheck(
        lambda f, b: sum(laplace_flow_loss(f, b, target, visible)[:3][i].sum() for i in range(3)),
        (flow, scale),
    )


@pytest.mark.parametrize("kind", ["l1", "huber"])
def test_an_exact_flow_has_a_finite_gradient(kind: Any) -> None:
    flow = torch.zeros(4, 2, requires_grad=True)
    visible = torch.ones(4, dtype=torch.bool)
    flow_loss(flow, torch.zeros(4, 2), visible, kind=kind).loss.backward()
    center_flow_loss(flow, torch.zeros(4, 2), visible, kind=kind).backward()
    assert torch.isfinite(flow.grad).all()


@pytest.mark.parametrize("size", [0, 5])
def test_nothing_visible_is_zero_and_attached(size: int) -> None:
    flow, scale = torch.randn(size, 2, requires_grad=True), torch.rand(size, requires_grad=True)
    target, visible = torch.full((size, 2), torch.nan), torch.zeros(size, dtype=torch.bool)
    robust = flow_loss(flow, target, visible)
    likelihood = laplace_flow_loss(flow, scale, target, visible)
    centre = center_flow_loss(flow, target, visible)
    assert robust.loss == likelihood.loss == centre == 0
    assert robust.metrics == (0, 0, 0)
    assert (likelihood.invisible > 0) == (size > 0)
    (robust.loss + likelihood.loss + centre).backward()
    assert (flow.grad == 0).all()
    assert (scale.grad == 0).all()


def test_too_few_visible_pixels_give_zero() -> None:
    flow, target, visible, _ = pixels()
    count = int(visible.sum())
    assert flow_loss(flow, target, visible, min_valid_pixels=count).loss > 0
    assert flow_loss(flow, target, visible, min_valid_pixels=count + 1).loss == 0


def test_half_precision_is_computed_in_single() -> None:
    flow, target, visible, scale = pixels()
    half = laplace_flow_loss(flow.bfloat16(), scale.bfloat16(), target.float(), visible)
    assert half.loss.dtype == half.pnp_weights.dtype == torch.float32
    assert torch.isfinite(half.loss)


def test_errors_name_the_argument() -> None:
    flow, target, visible, scale = pixels()
    with pytest.raises(ValueError, match="flow_loss: `kind` must be one of 'l1', 'huber'"):
        flow_loss(flow, target, visible, kind="l2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="laplace_flow_loss: `scale` must be"):
        laplace_flow_loss(flow, scale[..., :2], target, visible)
    with pytest.raises(ValueError, match="center_flow_loss: `target` must be of the shape of `flow`"):
        center_flow_loss(flow, target[:1], visible)
