"""Functions in several processes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, distributed

from refkp.verify.ranks import run_ranks


def _sum(value: Tensor) -> tuple[Tensor, int, int]:
    total = value.clone()
    distributed.all_reduce(total)
    return total, distributed.get_rank(), distributed.get_world_size()


def _fail_on_one(rank: int) -> None:
    if rank == 1:
        raise ValueError("the second rank gives up")
    distributed.all_reduce(torch.zeros(1))


def test_ranks_talk_to_each_other() -> None:
    results = run_ranks(_sum, [(torch.tensor([1.0]),), (torch.tensor([2.0]),)])
    assert [(float(total), rank, size) for total, rank, size in results] == [(3.0, 0, 2), (3.0, 1, 2)]


def test_an_error_on_one_rank_ends_all() -> None:
    with pytest.raises(Exception, match=r"the second rank gives up|closed by peer"):
        run_ranks(_fail_on_one, [(0,), (1,)])
