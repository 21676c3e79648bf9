"""The flow of pairs of patches."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.pose.model.flow import FlowHead, PairTrunk, flow_confidence
from refkp.systems.pose.model.pairs import pairs_from_labels
from refkp.systems.pose.model.spec import FlowSpec
from refkp.systems.pose.model.tokens import Tokens

DIM = 8


def batch() -> Tokens:
    return Tokens(torch.randn(2, 5, DIM), torch.randn(2, 3, 6, DIM))


def head() -> FlowHead:
    return FlowHead(FlowSpec(hidden=(10, 7)), DIM, 4)


PAIRS = pairs_from_labels(torch.randint(-1, 6, (2, 3, 5)), 5)


def test_the_first_linear_is_split_exactly() -> None:
    trunk, tokens = PairTrunk(DIM, (10, 7)).double(), Tokens(*(part.double() for part in batch()))
    b, s, query, template = PAIRS
    fused = torch.cat((tokens.query[b, query], tokens.templates[b, s, template]), -1)
    torch.testing.assert_close(trunk(tokens, PAIRS), trunk.rest(trunk.first(fused)))


def test_shapes_and_start() -> None:
    out = head()(batch(), PAIRS)
    assert out.flow.shape == (len(PAIRS.b), 4, 4, 2)
    assert out.scale.shape == (len(PAIRS.b), 4, 4)
    assert float(out.flow.detach().abs().max()) < 0.05
    assert float(out.scale.detach().min()) > 1e-4


def test_no_pairs_give_no_flow() -> None:
    none = pairs_from_labels(torch.full((2, 3, 5), 5), 5)
    assert head()(batch(), none).flow.shape == (0, 4, 4, 2)


def test_gradients_pass_the_gather() -> None:
    """The tokens of pairs get a gradient, all others none."""
    net, tokens = head(), Tokens(*(part.requires_grad_() for part in batch()))
    out = net(tokens, PAIRS)
    (out.flow.square().sum() + out.scale.sum()).backward()
    assert tokens.query.grad is not None
    assert tokens.templates.grad is not None
    used = torch.zeros(2, 5, dtype=torch.bool)
    used[PAIRS.b, PAIRS.query] = True
    assert torch.equal(tokens.query.grad.abs().sum(-1) > 0, used)
    used = torch.zeros(2, 3, 6, dtype=torch.bool)
    used[PAIRS.b, PAIRS.s, PAIRS.template] = True
    assert torch.equal(tokens.templates.grad.abs().sum(-1) > 0, used)
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


def test_outputs_are_float32_under_mixed_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        out = head()(batch(), PAIRS)
    assert out.flow.dtype == out.scale.dtype == torch.float32


def test_the_confidence_of_a_flow_is_a_probability_that_falls_with_the_scale() -> None:
    scale = torch.logspace(-4, 4, 200, dtype=torch.float64)
    confidence = flow_confidence(scale)
    assert 0 <= float(confidence.min()) < 1e-8
    assert 1 - 1e-12 < float(confidence.max()) <= 1
    assert bool((confidence.diff() <= 0).all())
    assert bool((confidence[scale > 0.1].diff() < 0).all())


@pytest.mark.parametrize("scale", [0.1, 0.4, 2.0])
def test_the_confidence_of_a_flow_is_how_often_laplace_errors_stay_within_half_a_patch(scale: float) -> None:
    torch.manual_seed(0)
    errors = torch.distributions.Laplace(0.0, scale).sample((200_000, 2))
    often = (errors.abs() < 0.5).all(-1).float().mean()
    torch.testing.assert_close(often, flow_confidence(torch.tensor(scale)), atol=4e-3, rtol=0)
