"""The optimal assignment against every permutation."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from refkp.systems.panorama.metrics.assignment import optimal_assignment


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_no_permutation_is_cheaper(size: int) -> None:
    for _ in range(20):
        cost = torch.randn(size, size, dtype=torch.float64)
        rows = torch.arange(size)
        best = min(float(cost[rows, list(order)].sum()) for order in permutations(range(size)))
        found = optimal_assignment(cost)
        assert sorted(found.tolist()) == list(range(size))
        assert float(cost[rows, found].sum()) == pytest.approx(best, abs=1e-12)


def test_ties_still_give_a_permutation() -> None:
    assert sorted(optimal_assignment(torch.zeros(7, 7)).tolist()) == list(range(7))
    cost = torch.randint(0, 3, (40, 40)).float()
    assert sorted(optimal_assignment(cost).tolist()) == list(range(40))


def test_a_hidden_permutation_is_found() -> None:
    order = torch.randperm(30)
    cost = torch.rand(30, 30)
    cost[torch.arange(30), order] = -1.0
    assert torch.equal(optimal_assignment(cost), order)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"\[N,N\]; got \[2,3\]"):
        optimal_assignment(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="finite"):
        optimal_assignment(torch.full((2, 2), torch.nan))
