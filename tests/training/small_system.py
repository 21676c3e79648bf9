"""A system that trains in a second, with all that makes going on hard: random draws in data, step and validation."""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from refkp.nn.ranks import Mean
from refkp.training.cli import SystemTraining
from refkp.training.data import SystemData
from refkp.training.module import SystemModule
from refkp.training.optim import OptimizerSpec
from refkp.training.sampling import SampleIndex, batch_generator, held_out_groups, sample_generator
from refkp.training.stages import Stage


class Batch(NamedTuple):
    """Points and what a line through them would say."""

    x: Tensor  # [B,4]
    y: Tensor  # [B,1]
    shift: float  # drawn for the whole batch


class Items(Dataset[Any]):
    """Noisy points of a fixed plane."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: SampleIndex) -> tuple[SampleIndex, Tensor]:
        fixed = torch.Generator().manual_seed(self.numbers[index.number])
        noise = torch.randn(4, generator=sample_generator(0, index))
        return index, torch.randn(4, generator=fixed) + 0.1 * noise


class SmallData(SystemData):
    """Twenty-three points, of which a fifth is held out."""

    def __init__(
        self, source: str = "here", size: int = 23, batch_size: int = 4, num_workers: int = 0, seed: int = 0
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.source, self.size = source, size

    def setup(self, stage: str) -> None:
        if self.source != "here":
            raise ValueError(f"SmallData: `source` must be here; got {self.source!r}.")
        train, held_out = held_out_groups([str(number) for number in range(self.size)], 0.2, 0)
        self.train_set, self.val_set = Items(train), Items(held_out)

    def collate(self, samples: Sequence[tuple[SampleIndex, Tensor]]) -> Batch:
        x = torch.stack([point for _, point in samples])
        shift = float(torch.rand((), generator=batch_generator(self.seed, samples[0][0])))
        return Batch(x, x.sum(1, keepdim=True), shift)

    def held_out_names(self) -> list[str]:
        return [str(number) for number in self.val_set.numbers]  # type: ignore[attr-defined]

    def specs(self) -> dict[str, Any]:
        return {"size": self.size}


class SmallStep(NamedTuple):
    total: Tensor
    error: Tensor

    @property
    def terms(self) -> dict[str, Tensor]:
        return {"error": self.error}


class Group(NamedTuple):
    name: str
    parameters: Sequence[nn.Parameter]
    lr_scale: float = 1.0


class SmallModule(SystemModule):
    """A line with dropout."""

    system = "small"

    def __init__(
        self,
        stage: str = "first",
        drop: float = 0.2,
        noise: float = 1e-3,
        optimizer: OptimizerSpec = OptimizerSpec(lr=0.01),  # noqa: B008
    ) -> None:
        super().__init__(optimizer)
        self.stage, self.noise = stage, noise
        self.model = nn.Sequential(nn.Dropout(drop), nn.Linear(4, 1))

    def forward(self, batch: Batch) -> SmallStep:
        noise = self.noise * torch.randn(batch.y.shape)  # also in validation, as a loss that draws does
        error = (self.model(batch.x) - batch.y - noise).square().mean()
        return SmallStep(error + 1e-3 * batch.shift, error)

    def groups(self) -> list[Group]:
        return [Group("all", list(self.parameters()))]

    def held_out_values(self, batch: Batch, step: SmallStep) -> dict[str, Tensor | Mean]:
        miss = (self.model(batch.x) - batch.y).abs()
        return {"miss": Mean.over(miss), "first": miss[0, 0]}

    def specs(self) -> dict[str, Any]:
        return {"stage": self.stage}

    def num_samples(self, batch: Batch) -> int:
        return len(batch.x)


SMALL = SystemTraining(
    name="small",
    description="Train a line.",
    module=SmallModule,
    data=SmallData,
    presets="tests.training.presets",
    stages=(Stage("train", "val/miss", "min"),),
    reported={"val/miss": "mean miss", "val/total": "loss"},
)

STAGED = replace(
    SMALL,
    stages=(Stage("first", "val/miss", "min"), Stage("second", "val/miss", "min")),
    links={"stage": ("model.stage",)},
    shared=("model.drop",),
)


class SignalAt(L.Callback):
    """Sends this process a signal in the middle of a step."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


class SignalToAll(L.Callback):
    """Sends a signal to all processes of its group before the first batch of the epoch at a step is used."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step and batch_idx == 0:
            kill = [
                "kill",
                f"-{self.number}",
                "--",
                f"-{os.getpgrp()}",
            ]  # not from this process, that may end them
            subprocess.run(kill, check=False)
            time.sleep(0.2)  # a loader's process that obeys is gone then


class SignalAfterEpoch(L.Callback):
    """Sends this process a signal when the validation after an epoch is over, and its best checkpoint written."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        trainer.callbacks.append(
            trainer.callbacks.pop(trainer.callbacks.index(self))
        )  # behind what keeps them

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.state.fn == "fit" and trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


class SignalInValidation(L.Callback):
    """Sends this process a signal while it validates."""

    def __init__(self, step: int, number: int = 2) -> None:
        self.step, self.number = step, number

    def on_validation_batch_start(
        self, trainer: Any, module: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if trainer.state.fn == "fit" and trainer.global_step == self.step and batch_idx == 0:
            os.kill(os.getpid(), self.number)


def signal_at(step: int, number: int, *, when: str = "SignalAt") -> list[str]:
    """Options of a training that is sent a signal in the middle of a step."""
    path = f"tests.training.small_system.{when}"
    return [
        f"--trainer.callbacks+={path}",
        f"--trainer.callbacks.step={step}",
        f"--trainer.callbacks.number={int(number)}",
    ]


def weights_digest(checkpoint: Path) -> str:
    """Of the weights and of the state of the optimiser."""
    saved = torch.load(checkpoint, weights_only=True)
    digest = hashlib.sha256(str(saved["global_step"]).encode())
    for name, value in sorted(saved["state_dict"].items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    for _, state in sorted(saved["optimizer_states"][0]["state"].items()):
        for _, value in sorted(state.items()):
            digest.update(torch.as_tensor(value).cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    from refkp.training.run import train

    parser = argparse.ArgumentParser()
    parser.add_argument("--staged", action="store_true")
    options, rest = parser.parse_known_args()
    train(STAGED if options.staged else SMALL, rest)
