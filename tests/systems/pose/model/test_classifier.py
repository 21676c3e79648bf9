"""Scores of all pairs of patches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as functional

from refkp.systems.pose.model.classifier import ClassificationHead
from refkp.systems.pose.model.spec import ClassifierSpec
from refkp.systems.pose.model.tokens import Tokens


def head(**options: Any) -> ClassificationHead:
    return ClassificationHead(ClassifierSpec(**{"hidden_dim": 10, "out_dim": 6, **options}), 8)


TOKENS = Tokens(torch.randn(2, 4, 8), torch.randn(2, 3, 5, 8))


@pytest.mark.parametrize(
    ("normalise", "learnable", "scale"),
    [(True, True, 1 / 0.07), (True, False, 1), (False, True, 1 / 0.07), (False, False, 6**-0.5)],
)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_definition(normalise: bool, learnable: bool, scale: float, num_layers: int) -> None:
    net = head(normalise=normalise, learnable_temperature=learnable, num_layers=num_layers)
    query, templates = net.q_proj(TOKENS.query), net.t_proj(TOKENS.templates)
    if normalise:
        query, templates = functional.normalize(query, dim=-1), functional.normalize(templates, dim=-1)
    torch.testing.assert_close(net(TOKENS), scale * torch.einsum("bnc,bstc->bsnt", query, templates))


def test_the_scale_is_held_in_its_bounds() -> None:
    net = head()
    assert net.logit_scale is not None
    plain = head(learnable_temperature=False)
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if name != "logit_scale"})
    for raw, scale in ((50.0, 100.0), (-50.0, 1e-3)):
        torch.nn.init.constant_(net.logit_scale, raw)
        torch.testing.assert_close(net(TOKENS), scale * plain(TOKENS))


@pytest.mark.parametrize(("normalise", "learnable"), [(True, True), (True, False), (False, False)])
def test_the_temperature_divides_the_logits(normalise: bool, learnable: bool) -> None:
    warm, plain = (
        head(normalise=normalise, learnable_temperature=learnable, temperature=temperature)
        for temperature in (2.5, 1.0)
    )
    plain.load_state_dict(warm.state_dict())
    torch.testing.assert_close(warm(TOKENS), plain(TOKENS) / 2.5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none(temperature: float) -> None:
    with pytest.raises(ValueError, match="`temperature` must be above 0 and finite"):
        head(temperature=temperature)


def test_products_are_float32_under_mixed_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits = head()(TOKENS)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


def test_gradients_reach_tokens_and_parameters() -> None:
    net, tokens = head(), Tokens(*(part.clone().requires_grad_() for part in TOKENS))
    net(tokens).square().sum().backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in tokens)
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []
