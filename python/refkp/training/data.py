"""What every system's DataModule does alike: loaders that go on within an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from refkp._checks import fail
from refkp._extras import named_extras
from refkp._files import equal_files
from refkp.training.sampling import EpochSampler, ResumableLoader
from refkp.training.signals import obey_the_parent_alone

with named_extras():
    import lightning as L


class SystemData(L.LightningDataModule):
    """The base of every system's DataModule; `setup` sets `train_set` and `val_set`.

    Args:
        batch_size: samples in a step, on each rank.
        num_workers: loader processes; 0 loads in the training process.
        seed: of the order and every draw; `--seed` sets it.
        prefetch: batches that each loader process prepares ahead.
    """

    train_set: Dataset[Any]
    val_set: Dataset[Any]

    def __init__(self, batch_size: int, num_workers: int, seed: int, prefetch: int = 2) -> None:
        super().__init__()
        least = {"batch_size": (batch_size, 1), "num_workers": (num_workers, 0), "prefetch": (prefetch, 1)}
        for name, (value, minimum) in least.items():
            if value < minimum:
                fail(type(self).__name__, name, f"at least {minimum}", value)
        self.batch_size, self.num_workers = batch_size, num_workers
        self.seed, self.prefetch = seed, prefetch

    def collate(self, samples: Sequence[Any]) -> Any:
        """Samples as a batch."""
        raise NotImplementedError

    def specs(self) -> dict[str, Any]:
        """Plain values that a trained model needs of its data; they go into every checkpoint."""
        return {}

    def held_out_names(self) -> list[str]:
        """What is held out, as a person would name it."""
        raise NotImplementedError

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled training samples."""
        return self._loader(self.train_set, shuffle=True, collate=self.collate)

    def val_dataloader(self) -> ResumableLoader:
        """Held-out samples, the same in every epoch."""
        return self._loader(self.val_set, shuffle=False, collate=self.collate)

    def _loader(
        self, dataset: Dataset[Any], *, shuffle: bool, collate: Callable[[Sequence[Any]], Any]
    ) -> ResumableLoader:
        trainer = self.trainer
        rank, num_ranks = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        sampler = EpochSampler(
            dataset, self.batch_size, shuffle=shuffle, seed=self.seed, rank=rank, num_ranks=num_ranks
        )
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            prefetch_factor=self.prefetch if self.num_workers else None,
            pin_memory=torch.accelerator.is_available(),
            collate_fn=collate,
            worker_init_fn=obey_the_parent_alone,
            generator=torch.Generator(),  # or each epoch would draw from the random state that a run resumes
        )


def require_unseen(train: Iterable[Path], held_out: Iterable[Path]) -> None:
    """Raise ValueError where a held-out file is, or has the content of, a file of training under whatever name."""
    twins = equal_files(held_out, train)
    if twins:
        first, second = twins[0]
        got = f"{str(first)!r}, which is equal to {str(second)!r} in training, {len(twins)} such in all"
        remedy = "Remove one of the two: numbers on pictures that were trained on say nothing."
        fail("SystemData", "val_source", "made of pictures that training does not see", got, remedy)
