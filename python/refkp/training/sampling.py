"""Which samples a process sees, in what order, and with what random draws; and how a run goes on within an epoch.

Everything random about a sample depends on the seed, the epoch and the number of the sample alone, so it is the
same in whatever process, on whatever rank, before and after an interruption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from refkp._checks import fail
from refkp.training.signals import ending_waits


class SampleIndex(NamedTuple):
    """A sample in an epoch; it carries to the loader's processes what decides their random draws."""

    epoch: int
    number: int  # in the data set
    step: int = 0  # which batch of the epoch it is in, on all ranks together


class EpochSampler(DistributedSampler[Any]):
    """The samples of one rank: shuffled by seed and epoch, split over ranks, resumable.

    All ranks draw one order and take every `num_ranks`-th of it, so that each has the same count: in training
    the last few of the order, fewer than ranks, are left out (others in the next epoch); without shuffling
    the first ones are seen twice instead, so that none is missed. Lightning tells the epoch by `set_epoch` and
    leaves a `DistributedSampler` as it is.

    Args:
        dataset: gives the number of samples.
        batch_size: samples of a rank in a step.
        shuffle: draw an order for each epoch; else the order of the data set.
        seed: of the order.
        rank: this process.
        num_ranks: of how many.

    Raises:
        ValueError: fewer samples than ranks.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        super().__init__(dataset, num_replicas=num_ranks, rank=rank, shuffle=shuffle, seed=seed)
        self.length = len(dataset)  # type: ignore[arg-type]
        if self.length < num_ranks:
            fail("EpochSampler", "dataset", f"at least {num_ranks} samples, one per rank", self.length)
        whole, rest = divmod(self.length, num_ranks)
        self.per_rank = whole if shuffle or not rest else whole + 1
        self.batch_of_all_ranks = batch_size * num_ranks
        self._done = (0, 0)  # epoch, samples of all ranks already seen in it

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch, also when a part of it has been seen."""
        return self.per_rank

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]
        order = self.order()
        epoch = self.epoch if self.shuffle else 0  # held-out samples are the same in every epoch
        for place in range(self.start + self.rank, len(order), self.num_replicas):
            yield SampleIndex(epoch, order[place], place // self.batch_of_all_ranks)

    @property
    def start(self) -> int:
        """Samples of all ranks that had been seen in this epoch when the state was saved."""
        epoch, seen = self._done
        return seen if epoch == self.epoch else 0

    def order(self) -> list[int]:
        """The samples of all ranks in this epoch."""
        total = self.per_rank * self.num_replicas
        if not self.shuffle:
            return [index % self.length for index in range(total)]
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch))
        return torch.randperm(self.length, generator=generator).tolist()[:total]

    def state_dict(self, seen: int) -> dict[str, int]:
        """The state after `seen` samples of all ranks in this epoch.

        The loader's processes fetch ahead, so only who consumes the batches knows `seen`.
        """
        return {"epoch": self.epoch, "seen": seen, "seed": self.seed, "length": self.length}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on within the epoch of `state`, also with another number of ranks.

        Raises:
            ValueError: the state belongs to other data or another seed.
        """
        for name, have in {"seed": self.seed, "length": self.length}.items():
            if state[name] != have:
                remedy = "Resume with the data and seed of the run, or train it again with `--fresh`."
                fail("EpochSampler", f"state[{name!r}]", f"{have}, as here", state[name], remedy)
        self._done = (state["epoch"], state["seen"])
        self.set_epoch(state["epoch"])


class ResumableLoader(DataLoader[Any]):
    """A loader of an `EpochSampler` that goes on within an epoch; Lightning keeps its state in checkpoints.

    Its processes fetch ahead of the training, so it counts what it hands out.
    """

    _seen = 0  # samples of all ranks in this epoch

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        sampler = self._sampler()
        self._seen = sampler.start
        with ending_waits():
            batches = super().__iter__()  # starts the processes
        for batch in batches:
            self._seen = min(self._seen + sampler.batch_of_all_ranks, len(sampler) * sampler.num_replicas)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the epoch stands after the batch handed out last."""
        return self._sampler().state_dict(self._seen)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there; errors as in `EpochSampler.load_state_dict`."""
        self._sampler().load_state_dict(state)

    def _sampler(self) -> EpochSampler:
        if not isinstance(self.sampler, EpochSampler):
            fail("ResumableLoader", "sampler", "an EpochSampler", type(self.sampler).__name__)
        return self.sampler


def sample_generator(seed: int, sample: SampleIndex) -> torch.Generator:
    """The random draws of a sample."""
    return torch.Generator().manual_seed(mixed_seed(seed, sample.epoch, sample.number))


def batch_generator(seed: int, sample: SampleIndex) -> torch.Generator:
    """The random draws that the samples of a step share, the same on all ranks; `sample` is any of them."""
    return torch.Generator().manual_seed(mixed_seed(seed, sample.epoch, sample.step, 1))


def mixed_seed(*numbers: int) -> int:
    """Numbers as one seed; close numbers give unrelated seeds (the finaliser of splitmix64 after each)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) % 2**64
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        mixed ^= mixed >> 31
    return mixed % 2**63


def held_out_groups(groups: Sequence[str], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the training samples and of the held-out ones; samples of one group stay together.

    Args:
        groups: of each sample, what must not be in both: its scene, its picture, its animal.
        fraction: of the groups that is held out, at least one, in (0,1).
        seed: of the choice.

    Raises:
        ValueError: `fraction` is out of its range, or there are fewer groups than two.

    >>> held_out_groups(["a", "a", "b"], 0.5, seed=0)
    ([2], [0, 1])
    """
    if not 0 < fraction < 1:
        fail("held_out_groups", "val_fraction", "inside (0,1)", fraction)
    names = sorted(set(groups))
    count = max(1, round(fraction * len(names)))
    if count >= len(names):
        remedy = "Add data, or name held-out data with `val_source`."
        fail("held_out_groups", "groups", "at least two, of which one is held out", len(names), remedy)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = {names[place] for place in order[:count]}
    train = [number for number, name in enumerate(groups) if name not in chosen]
    return train, [number for number, name in enumerate(groups) if name in chosen]
