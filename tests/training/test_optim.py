"""AdamW groups and the learning-rate schedule."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from refkp.training.optim import OptimizerSpec, build_optimizer, rate


def test_rate_rises_then_falls_to_zero() -> None:
    rates = [rate(step, 100, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0 == rates[9] == rates[10]
    assert rates[100] == 0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_vectors_are_not_decayed_and_frozen_parts_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2).requires_grad_(False))
    optimizer = build_optimizer(model, OptimizerSpec(weight_decay=0.1), 10)["optimizer"]
    decayed, plain = optimizer.param_groups
    assert [parameter.shape for parameter in decayed["params"]] == [torch.Size([4, 3])]
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert len(plain["params"]) == 3


def test_errors() -> None:
    with pytest.raises(ValueError, match="trainable parameters"):
        build_optimizer(nn.Linear(2, 2).requires_grad_(False), OptimizerSpec(), 1)
    with pytest.raises(ValueError, match="`lr` must be above 0"):
        OptimizerSpec(lr=0.0)
    with pytest.raises(ValueError, match="warmup"):
        OptimizerSpec(warmup=1.0)
