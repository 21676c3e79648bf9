"""Which samples a process sees, in what order: shuffled by seed and epoch, split over ranks, resumable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from refkp._checks import fail


class SampleIndex(NamedTuple):
    """A sample in an epoch; it carries the epoch to the loader's processes, which decides their random draws."""

    epoch: int
    number: int  # in the data set


class PoseSampler(DistributedSampler[Any]):
    """The samples of one rank.

    All ranks draw one order and take every `num_ranks`-th of it, so that each has the same count: in training
    the last few of the order, fewer than ranks, are left out (others in the next epoch); without shuffling
    the first ones are seen twice instead, so that none is missed. Lightning tells the epoch by `set_epoch` and
    leaves a `DistributedSampler` as it is.

    Args:
        dataset: gives the number of samples.
        shuffle: draw an order for each epoch; else the order of the data set.
        seed: of the order.
        rank: this process.
        num_ranks: of how many.

    Raises:
        ValueError: fewer samples than ranks.
    """

    def __init__(
        self, dataset: Dataset[Any], *, shuffle: bool, seed: int = 0, rank: int = 0, num_ranks: int = 1
    ) -> None:
        super().__init__(dataset, num_replicas=num_ranks, rank=rank, shuffle=shuffle, seed=seed)
        self.length = len(dataset)  # type: ignore[arg-type]
        if self.length < num_ranks:
            fail("PoseSampler", "dataset", f"at least {num_ranks} samples, one per rank", self.length)
        whole, rest = divmod(self.length, num_ranks)
        self.per_rank = whole if shuffle or not rest else whole + 1
        self._done = (0, 0)  # epoch, samples of all ranks already seen in it

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch, also when a part of it has been seen."""
        return self.per_rank

    def __iter__(self) -> Iterator[SampleIndex]:  # type: ignore[override]
        for index in self.order()[self.start + self.rank :: self.num_replicas]:
            yield SampleIndex(self.epoch, index)

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
        generator = torch.Generator().manual_seed(_mixed(self.seed, self.epoch))
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
                remedy = "Resume with the data and seed of the run."
                fail("PoseSampler", f"state[{name!r}]", f"{have}, as here", state[name], remedy)
        self._done = (state["epoch"], state["seen"])
        self.set_epoch(state["epoch"])


class ResumableLoader(DataLoader[Any]):
    """A loader of a `PoseSampler` that goes on within an epoch; Lightning keeps its state in checkpoints.

    Its processes fetch ahead of the training, so it counts what it hands out.
    """

    _seen = 0  # samples of all ranks in this epoch

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        sampler = self._sampler()
        self._seen = sampler.start
        for batch in super().__iter__():
            of_all_ranks = (self.batch_size or 1) * sampler.num_replicas
            self._seen = min(self._seen + of_all_ranks, len(sampler) * sampler.num_replicas)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the epoch stands after the batch handed out last."""
        return self._sampler().state_dict(self._seen)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there; errors as in `PoseSampler.load_state_dict`."""
        self._sampler().load_state_dict(state)

    def _sampler(self) -> PoseSampler:
        if not isinstance(self.sampler, PoseSampler):
            fail("ResumableLoader", "sampler", "a PoseSampler", type(self.sampler).__name__)
        return self.sampler


def sample_generator(seed: int, sample: SampleIndex) -> torch.Generator:
    """The random draws of a sample: the same in whatever process, on whatever rank."""
    return torch.Generator().manual_seed(_mixed(seed, sample.epoch, sample.number))


def _mixed(*numbers: int) -> int:
    """Numbers as one seed; close numbers give unrelated seeds (the finaliser of splitmix64 after each)."""
    mixed = 0
    for number in numbers:
        mixed = (mixed + number + 0x9E3779B97F4A7C15) % 2**64
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        mixed ^= mixed >> 31
    return mixed % 2**63
