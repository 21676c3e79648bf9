"""AdamW groups and the learning-rate schedule."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from refkp.training.optim import OptimizerSpec, build_optimizer, rate


class Group(NamedTuple):
    name: str
    parameters: list[nn.Parameter]
    lr_scale: float = 1.0


def _group(name: str, module: nn.Module, lr_scale: float = 1.0) -> Group:
    return Group(name, list(module.parameters()), lr_scale)


def test_rate_rises_then_falls_to_zero() -> None:
    rates = [rate(step, 100, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0 == rates[9] == rates[10]
    assert rates[100] == 0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_cosine_decay_begins_at_the_peak_after_a_warm_up_from_its_start() -> None:
    rates = [rate(step, 1000, 0.1, start=0.01, decay="cosine") for step in range(1001)]
    assert rates[0] == pytest.approx(0.01, abs=0.01)
    assert rates[50] == pytest.approx(0.5, abs=0.02)
    assert rates[99] == rates[100] == 1.0
    assert rates[550] == pytest.approx(0.5)
    assert rates[325] > rate(325, 1000, 0.1)  # flat at the top
    assert rates[1000] == 0


@pytest.mark.parametrize("steps", [7, 40])
def test_the_rate_ends_at_eta_min_as_that_of_torch_does(steps: int) -> None:
    spec = OptimizerSpec(lr=0.4, warmup=0.0, decay="cosine", eta_min=0.03)
    config = build_optimizer([_group("a", nn.Linear(2, 2)), _group("b", nn.Linear(2, 2), 0.1)], spec, steps)
    optimizer = config["optimizer"]
    theirs = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.4)
    cosine = CosineAnnealingLR(theirs, T_max=steps, eta_min=0.03)
    for _ in range(steps + 1):
        rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
        assert rates["a"] == pytest.approx(theirs.param_groups[0]["lr"])
        assert rates["b"] == pytest.approx(rates["a"] / 10)
        optimizer.step()
        config["lr_scheduler"]["scheduler"].step()
        theirs.step()
        cosine.step()
    assert rates["a"] == pytest.approx(0.03)


def test_groups_have_their_own_rate_and_decay_and_vectors_none() -> None:
    body, language = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), nn.Linear(4, 2, bias=False)
    spec = OptimizerSpec(lr=1.0, weight_decay=0.1, group_weight_decay={"language": 0.01}, warmup=0.0)
    groups = [_group("body", body, 0.5), _group("language", language)]
    optimizer = build_optimizer(groups, spec, 10)["optimizer"]
    found = {group["name"]: group for group in optimizer.param_groups}
    assert {name: (group["lr"], group["weight_decay"]) for name, group in found.items()} == {
        "body": (0.5, 0.1),
        "body/vectors": (0.5, 0.0),
        "language": (1.0, 0.01),
    }
    assert [tuple(parameter.shape) for parameter in found["body"]["params"]] == [(4, 3)]
    assert len(found["body/vectors"]["params"]) == 3
    assert found["language"]["betas"] == (0.9, 0.98)


def test_the_schedule_keeps_the_ratio_of_the_groups() -> None:
    groups = [_group("a", nn.Linear(2, 2), 0.1), _group("b", nn.Linear(2, 2))]
    config = build_optimizer(groups, OptimizerSpec(lr=1.0, warmup=0.5), 4)
    for wanted in (0.5, 1.0, 1.0, 0.5):
        rates = {group["name"]: group["lr"] for group in config["optimizer"].param_groups}
        assert rates["b"] == pytest.approx(wanted)
        assert rates["a"] == pytest.approx(wanted / 10)
        config["optimizer"].step()
        config["lr_scheduler"]["scheduler"].step()


def test_errors() -> None:
    frozen = _group("a", nn.Linear(2, 2).requires_grad_(False))
    with pytest.raises(ValueError, match="trainable parameters; got 2 frozen ones among 2"):
        build_optimizer([frozen], OptimizerSpec(), 1)
    with pytest.raises(ValueError, match="trainable parameters"):
        build_optimizer([], OptimizerSpec(), 1)
    groups = [_group("a", nn.Linear(2, 2))]
    with pytest.raises(ValueError, match=r"groups that exist \(a\); got language"):
        build_optimizer(groups, OptimizerSpec(group_weight_decay={"language": 0.0}), 1)
    with pytest.raises(ValueError, match="`lr` must be above 0"):
        OptimizerSpec(lr=0.0)
    for eta_min in (-1e-9, 2e-4):
        with pytest.raises(ValueError, match=r"`eta_min` must be from 0 to `lr` = 0.0001"):
            OptimizerSpec(eta_min=eta_min)
    with pytest.raises(ValueError, match="warmup"):
        OptimizerSpec(warmup=1.0)
    with pytest.raises(ValueError, match="warmup_start"):
        OptimizerSpec(warmup_start=2.0)
    with pytest.raises(ValueError, match="'linear', 'cosine'; got 'step'"):
        OptimizerSpec(decay="step")  # type: ignore[arg-type]
