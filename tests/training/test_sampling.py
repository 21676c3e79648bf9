"""The order of samples: seeded, split over ranks, resumable."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset

from refkp.training.sampling import (
    EpochSampler,
    SampleIndex,
    batch_generator,
    held_out_groups,
    sample_generator,
)


class _Numbers(Dataset[int]):
    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length


def sampler(length: int = 11, *, epoch: int = 0, **options: object) -> EpochSampler:
    made = EpochSampler(_Numbers(length), **{"batch_size": 2, "shuffle": True, **options})  # type: ignore[arg-type]
    made.set_epoch(epoch)
    return made


def test_an_epoch_has_every_sample_once_in_its_own_order() -> None:
    orders = [[sample.number for sample in sampler(epoch=epoch)] for epoch in (0, 0, 1)]
    assert sorted(orders[0]) == list(range(11))
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != [sample.number for sample in sampler(seed=1)]
    assert {sample.epoch for sample in sampler(epoch=4)} == {4}


def test_held_out_samples_are_the_same_in_every_epoch() -> None:
    assert list(sampler(shuffle=False, epoch=0)) == list(sampler(shuffle=False, epoch=4))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("num_ranks", [2, 3, 11])
def test_ranks_get_equal_counts_and_nothing_twice_in_training(shuffle: bool, num_ranks: int) -> None:
    ranks = [sampler(shuffle=shuffle, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    parts = [[sample.number for sample in rank] for rank in ranks]
    assert {len(part) for part in parts} == {len(ranks[0])}
    seen = [index for part in parts for index in part]
    if shuffle:
        assert len(set(seen)) == len(seen) == 11 - 11 % num_ranks
    else:
        assert set(seen) == set(range(11))


def test_a_state_goes_on_where_it_was_also_with_other_ranks() -> None:
    whole = [sample.number for sample in sampler(12, epoch=3)]
    state = sampler(12, epoch=3).state_dict(seen=6)
    resumed = sampler(12)
    resumed.load_state_dict(state)
    assert list(resumed) == [SampleIndex(3, index, place // 2) for place, index in enumerate(whole)][6:]
    assert len(resumed) == 12
    ranks = [sampler(12, rank=rank, num_ranks=2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(state)
    assert [sample.number for pair in zip(*ranks, strict=True) for sample in pair] == whole[6:]
    resumed.set_epoch(4)
    assert len(list(resumed)) == 12


def test_errors() -> None:
    with pytest.raises(ValueError, match="at least 4 samples, one per rank; got 3"):
        sampler(3, num_ranks=4)
    with pytest.raises(ValueError, match=r"state\['seed'\]` must be 0, as here; got 1"):
        sampler().load_state_dict(sampler(seed=1).state_dict(0))
    with pytest.raises(ValueError, match="Resume with the data and seed of the run, or train it again"):
        sampler(10).load_state_dict(sampler(11).state_dict(0))


def test_draws_differ_between_samples_epochs_and_seeds() -> None:
    draws = {
        float(
            torch.rand((), generator=sample_generator(seed, SampleIndex(epoch, index)), dtype=torch.float64)
        )
        for seed in range(4)
        for epoch in range(4)
        for index in range(8)
    }
    assert len(draws) == 128


def test_all_ranks_of_a_step_share_its_draws() -> None:
    """Two ranks with batches of two samples take the steps of one process with batches of four."""
    alone = list(sampler(12, batch_size=4))
    ranks = [list(sampler(12, rank=rank, num_ranks=2)) for rank in range(2)]
    together = [sample for pair in zip(*ranks, strict=True) for sample in pair]
    assert together == alone
    assert [sample.step for sample in alone] == [step for step in range(3) for _ in range(4)]
    draws = [float(torch.rand((), generator=batch_generator(0, sample))) for sample in alone]
    assert len(set(draws)) == 3
    assert draws[0] != float(torch.rand((), generator=sample_generator(0, alone[0])))


def test_samples_of_a_group_stay_together() -> None:
    groups = [f"{scene:06d}" for scene in range(10) for _ in range(3)]
    train, val = held_out_groups(groups, 0.2, seed=0)
    assert sorted(train + val) == list(range(30))
    assert len(val) == 6
    assert {number // 3 for number in val}.isdisjoint(number // 3 for number in train)
    assert held_out_groups(groups, 0.2, seed=0)[1] == val != held_out_groups(groups, 0.2, seed=1)[1]
    with pytest.raises(ValueError, match="at least two, of which one is held out; got 1"):
        held_out_groups(groups[:3], 0.2, seed=0)
    with pytest.raises(ValueError, match=r"`val_fraction` must be inside \(0,1\); got 1.0"):
        held_out_groups(groups, 1.0, seed=0)
