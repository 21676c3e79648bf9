"""The small parts of transformer blocks: MLP, hidden layers, stochastic depth, initialisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from refkp.nn.drop_path import DropPath
from refkp.nn.init import init_transformer
from refkp.nn.mlp import Mlp, hidden_layers


def test_mlp_uses_the_exact_gelu() -> None:
    module, tokens = Mlp(4, 2.0).double(), torch.randn(3, 4, dtype=torch.float64)
    hidden = module.fc1(tokens)
    assert hidden.shape == (3, 8)
    gelu = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    torch.testing.assert_close(module(tokens), module.fc2(gelu))


def test_hidden_layers() -> None:
    kinds = [type(layer).__name__ for layer in hidden_layers((4, 3, 2))]
    assert kinds == ["Linear", "LayerNorm", "GELU"] * 2
    assert len(hidden_layers((4,))) == 0


def test_drop_path_keeps_the_mean_and_is_off_in_evaluation() -> None:
    module, branch = DropPath(0.25), torch.ones(4000, 3, 2)
    dropped = module(branch)
    assert set(dropped.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))  # whole samples
    assert abs(float(dropped.mean()) - 1) < 0.05
    assert torch.equal(module.eval()(branch), branch)
    with pytest.raises(ValueError, match=r"`rate` must be in \[0,1\); got 1"):
        DropPath(1)


def test_initialisation() -> None:
    module = nn.Sequential(nn.Linear(30, 50), nn.LayerNorm(50))
    nn.init.constant_(module[1].weight, 3.0)
    module.apply(init_transformer)
    bound = math.sqrt(6 / 80)
    assert 0.95 * bound < float(module[0].weight.detach().abs().max()) <= bound
    assert not module[0].bias.any()
    assert torch.equal(module[1].weight, torch.ones(50))
