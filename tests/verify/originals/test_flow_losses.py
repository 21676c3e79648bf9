"""Flow losses of the first revision: formulas, empty sets, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.verify.originals.flow_losses import center_flow_loss, confident_flow_loss, pnp_weights


def pixels() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flow, target with NaN where nothing is visible, visibility, confidence."""
    generator = torch.Generator().manual_seed(0)
    flow, target = torch.randn(2, 3, 4, 4, 2, generator=generator, dtype=torch.float64)
    visible = torch.rand(3, 4, 4, generator=generator) < 0.6
    confidence = torch.rand(3, 4, 4, generator=generator, dtype=torch.float64) + 0.1
    return flow, target.masked_fill(~visible[..., None], torch.nan), visible, confidence


@pytest.mark.parametrize("kind", ["l1", "huber"])
def test_robust_losses_pixel_by_pixel(kind: Any) -> None:
    flow, target, visible, confidence = pixels()
    total = 0.0
    for index in visible.nonzero().tolist():
        dx, dy = (flow - target)[tuple(index)].tolist()
        r = math.hypot(dx, dy)
        huber = r * r / 2 if r <= 0.7 else 0.7 * (r - 0.35)
        loss = abs(dx) + abs(dy) if kind == "l1" else huber
        total += loss * float(confidence[tuple(index)])
    got = confident_flow_loss(flow, target, visible, confidence, kind=kind, delta=0.7)
    assert got.item() == pytest.approx(total / int(visible.sum()))


@pytest.mark.parametrize("kind", ["l1", "huber"])
def test_gradients_are_those_of_finite_differences(kind: Any) -> None:
    flow, target, visible, confidence = pixels()
    inputs = (flow.clone().requires_grad_(), confidence.clone().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda f, c: confident_flow_loss(f, target, visible, c, kind=kind), inputs
    )


@pytest.mark.parametrize("kind", ["l1", "huber"])
def test_an_exact_flow_has_a_finite_gradient(kind: Any) -> None:
    flow = torch.zeros(4, 2, requires_grad=True)
    visible = torch.ones(4, dtype=torch.bool)
    confident_flow_loss(flow, torch.zeros(4, 2), visible, torch.ones(4), kind=kind).backward()
    center_flow_loss(flow, torch.zeros(4, 2), visible, kind=kind).backward()
    assert flow.grad is not None
    assert torch.isfinite(flow.grad).all()


@pytest.mark.parametrize("size", [0, 5])
def test_nothing_visible_is_zero_and_attached(size: int) -> None:
    flow = torch.randn(size, 2, requires_grad=True)
    target, visible = torch.full((size, 2), torch.nan), torch.zeros(size, dtype=torch.bool)
    robust = confident_flow_loss(flow, target, visible, torch.ones(size))
    centre = center_flow_loss(flow, target, visible)
    assert robust == centre == 0
    (robust + centre).backward()
    assert flow.grad is not None
    assert not flow.grad.any()


def test_weights_of_the_solver() -> None:
    _, _, visible, scale = pixels()
    torch.testing.assert_close(pnp_weights(scale, visible), visible.double() / (scale + 1e-4))


def test_errors_name_the_argument() -> None:
    flow, target, visible, scale = pixels()
    with pytest.raises(ValueError, match="`kind` must be one of 'l1', 'huber'"):
        confident_flow_loss(flow, target, visible, scale, kind="l2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="center_flow_loss: `target` must be of the shape of `flow`"):
        center_flow_loss(flow, target[:1], visible)
    with pytest.raises(ValueError, match=r"pnp_weights: `visibility` must be \[3,4,4\]"):
        pnp_weights(scale, visible[:1])
