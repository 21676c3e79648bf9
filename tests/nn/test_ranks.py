"""Means over the items of all ranks: in one process, and in two real ones that hold different counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.nn.ranks import Mean, all_rank_means, several_ranks
from refkp.verify.ranks import run_ranks


def test_what_is_not_counted_is_not_read() -> None:
    items = torch.tensor([1.0, torch.nan, 4.0], requires_grad=True)
    mean = Mean.over(items, torch.tensor([True, False, True]))
    assert (mean.value.item(), int(mean.count)) == (2.5, 2)
    mean.value.backward()
    assert items.grad is not None
    assert items.grad.tolist() == [0.5, 0.0, 0.5]


def test_a_mean_of_nothing_is_zero_and_attached() -> None:
    items = torch.randn(3, requires_grad=True)
    value = Mean.over(items, torch.zeros(3, dtype=torch.bool)).value
    assert value.item() == 0
    value.backward()
    assert items.grad is not None
    assert not items.grad.any()


def test_means_add_and_roots_are_taken_last() -> None:
    squares = Mean.over(torch.tensor([1.0, 9.0]), root=True) + Mean.over(torch.tensor([2.0]), root=True)
    assert squares.value.item() == 2.0
    assert Mean.over(torch.tensor([True, False])).value.item() == 0.5


def test_the_value_has_the_dtype_of_the_sum() -> None:
    for dtype in (torch.float32, torch.float64):
        mean = Mean(torch.tensor(3.0, dtype=dtype), torch.tensor(2))
        assert mean.value.dtype == all_rank_means({"mean": mean})["mean"].dtype == dtype


def test_counts_beyond_float32_are_exact() -> None:
    count = torch.tensor(2**24 + 1)
    assert (Mean(torch.ones(()), count) + Mean(torch.ones(()), count)).count == 2**25 + 2


def _terms(weights: Tensor, rows: Tensor) -> dict[str, Mean]:
    """A loss whose items depend on shared weights, a share, and a mean of nothing."""
    items = (rows @ weights).square()
    nothing = Mean(0.0 * items.sum(), torch.zeros((), dtype=torch.int64))
    return {"loss": Mean.over(items), "share": Mean.over(items.detach() > 1), "nothing": nothing}


def _on_rank(weights: Tensor, rows: Tensor) -> dict[str, Tensor]:
    weights = weights.requires_grad_()
    values = all_rank_means(_terms(weights, rows))
    (grad,) = torch.autograd.grad(values["loss"] + values["nothing"], weights)
    assert several_ranks()
    return {"grad": grad, **{name: value.detach() for name, value in values.items()}}


@pytest.mark.parametrize("counts", [(3, 5), (0, 4)])
def test_two_ranks_are_as_one_process(counts: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(4, generator=generator, dtype=torch.float64)
    rows = torch.randn(sum(counts), 4, generator=generator, dtype=torch.float64)
    ranks = run_ranks(_on_rank, [(weights, part) for part in rows.split(counts)])
    weights.requires_grad_()
    whole = {name: mean.value for name, mean in _terms(weights, rows).items()}
    whole["loss"].backward()
    for rank in ranks:
        assert {name: rank[name].item() for name in whole} == pytest.approx(
            {name: value.item() for name, value in whole.items()}, rel=1e-12
        )
    torch.testing.assert_close((ranks[0]["grad"] + ranks[1]["grad"]) / 2, weights.grad)  # what DDP does
