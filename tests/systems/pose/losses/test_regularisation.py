"""What is penalised, by type and shape, whatever its name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from refkp.systems.pose.losses.regularisation import regularised_parameters, weight_penalty


class Model(nn.Module):
    """Names that would fool a search for `ln`, `bn` or `bias`, and a norm whose scale is a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.alnico = nn.Linear(3, 2)
        self.debiased = nn.Conv2d(2, 3, 1)
        self.scaler = nn.LayerNorm((2, 3))
        self.batch = nn.BatchNorm1d(3)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.tied = self.alnico
        self.embedding = nn.Parameter(torch.randn(4, 2))


def test_matrices_outside_norms_count_once() -> None:
    model = Model()
    names = set(regularised_parameters(model))
    assert names == {"embedding", "alnico.weight", "debiased.weight"}
    want = sum(model.get_parameter(name).detach().square().sum().item() for name in names)
    loss = weight_penalty(model, 0.01)
    assert loss.item() == pytest.approx(0.01 * want, rel=1e-5)
    loss.backward()
    torch.testing.assert_close(model.embedding.grad, 0.02 * model.embedding.detach())
    assert model.batch.weight.grad is None


def test_a_model_without_matrices_has_no_penalty() -> None:
    assert weight_penalty(nn.LayerNorm(4)).item() == 0
