"""The running scale of the weights, in one process and in two."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from refkp.geometry.pnp import NormFactor, PnPProblem, weight_scale
from refkp.verify.ranks import run_ranks
from tests.support.pnp_scenes import problems


def test_the_first_mean_counts_whole_and_later_ones_by_the_momentum() -> None:
    factor = NormFactor(momentum=0.1)
    scale = torch.tensor([2.0, 4.0], requires_grad=True)
    assert factor(scale).item() == 3
    value = factor(torch.tensor([13.0]))
    assert value.item() == pytest.approx(4.0)
    assert not value.requires_grad
    assert factor.eval()(torch.tensor([1000.0])).item() == pytest.approx(4.0)


def test_what_is_not_finite_is_left_out_and_an_empty_batch_moves_nothing() -> None:
    factor = NormFactor(momentum=0.5)
    assert factor(torch.tensor([2.0, math.nan, math.inf])).item() == 2
    assert factor(torch.zeros(0)).item() == 2
    assert factor(torch.zeros(3)).item() == 2


def test_it_is_kept_in_the_state_dict() -> None:
    factor, other = NormFactor(), NormFactor()
    factor(torch.tensor([5.0]))
    other.load_state_dict(factor.state_dict())
    assert other(torch.tensor([5.0])).item() == pytest.approx(5.0)
    assert other.num_updates == 2


def _step(scale: Tensor) -> dict[str, Tensor]:
    factor = NormFactor()
    factor(scale)
    return {"value": factor(scale)}


def test_all_ranks_hold_the_mean_of_all_objects() -> None:
    results = run_ranks(_step, [(torch.tensor([1.0, 2.0]),), (torch.tensor([9.0]),)])
    assert [result["value"].item() for result in results] == [pytest.approx(4.0)] * 2


def test_the_scale_of_a_softmax_times_a_factor_is_the_factor() -> None:
    problem, _ = problems(2, 10)
    weights = torch.randn(2, 10, 2, dtype=torch.float64).softmax(1) * 7
    padding = torch.full((2, 3, 3), torch.nan, dtype=torch.float64)
    padded = PnPProblem(
        torch.cat((problem.points, padding), 1),
        torch.cat((problem.pixels, padding[..., :2]), 1),
        torch.cat((weights, padding[..., :2]), 1),
        problem.K,
        (torch.arange(13) < 10).expand(2, 13),
    )
    torch.testing.assert_close(weight_scale(padded), torch.full((2,), 7.0, dtype=torch.float64))


def test_errors() -> None:
    with pytest.raises(ValueError, match="`momentum` must be in"):
        NormFactor(momentum=0)
