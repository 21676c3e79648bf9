"""AdamW with linear warm-up and linear or cosine decay, the same for every system."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from refkp._checks import fail, require_choice

if TYPE_CHECKING:
    import lightning as L
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

Decay = Literal["linear", "cosine"]


@dataclass(frozen=True)
class OptimizerSpec:
    """AdamW.

    Args:
        lr: learning rate at its peak.
        weight_decay: of matrices; biases, norms and other vectors are not decayed.
        group_weight_decay: the same for single parameter groups, by name.
        betas: momentum constants.
        warmup: part of all steps in which the rate rises linearly, in [0,1); then it falls to `eta_min`.
        warmup_start: rate from which it rises, as a part of `lr`, in [0,1].
        decay: how it falls, "linear" or "cosine".
        eta_min: learning rate at the end, in [0,lr]; a group with a rate of its own ends at the same part of it.
    """

    lr: float = 1e-4
    weight_decay: float = 0.05
    group_weight_decay: Mapping[str, float] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = 0.1
    warmup_start: float = 0.0
    decay: Decay = "linear"
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        if self.lr <= 0:
            fail("OptimizerSpec", "lr", "above 0", self.lr)
        if not 0 <= self.eta_min <= self.lr:
            fail("OptimizerSpec", "eta_min", f"from 0 to `lr` = {self.lr}", self.eta_min)
        if not 0 <= self.warmup < 1:
            fail("OptimizerSpec", "warmup", "in [0,1)", self.warmup)
        if not 0 <= self.warmup_start <= 1:
            fail("OptimizerSpec", "warmup_start", "in [0,1]", self.warmup_start)
        require_choice("OptimizerSpec", "decay", self.decay, ("linear", "cosine"))


class ParameterGroup(Protocol):
    """Parameters that are trained alike."""

    @property
    def name(self) -> str:
        """What `OptimizerSpec.group_weight_decay` calls it."""

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """What is trained."""

    @property
    def lr_scale(self) -> float:
        """Learning rate of the group, as a multiple of the spec's."""


class Group(NamedTuple):
    """A `ParameterGroup` as plain values."""

    name: str
    parameters: Sequence[nn.Parameter]
    lr_scale: float = 1.0


def build_optimizer(
    groups: Sequence[ParameterGroup], spec: OptimizerSpec, steps: int
) -> OptimizerLRSchedulerConfig:
    """What `configure_optimizers` returns: AdamW on the groups, its schedule stepped per optimiser step.

    Args:
        groups: every parameter once; those without `requires_grad` are refused.
        spec: the constants.
        steps: optimiser steps of the whole run (`planned_steps`).
    """
    parameters = [parameter for group in groups for parameter in group.parameters]
    if not parameters or not all(parameter.requires_grad for parameter in parameters):
        frozen = sum(not parameter.requires_grad for parameter in parameters)
        got = f"{frozen} frozen ones among {len(parameters)}"
        fail(
            "build_optimizer",
            "groups",
            "made of trainable parameters",
            got,
            "Unfreeze them or leave them out.",
        )
    unknown = sorted(set(spec.group_weight_decay) - {group.name for group in groups})
    if unknown:
        names = ", ".join(group.name for group in groups)
        fail("OptimizerSpec", "group_weight_decay", f"for groups that exist ({names})", ", ".join(unknown))
    optimizer = AdamW(_settings(groups, spec), lr=spec.lr, betas=spec.betas)
    start, end = spec.warmup_start, spec.eta_min / spec.lr
    schedule = LambdaLR(
        optimizer, lambda step: rate(step, steps, spec.warmup, start=start, decay=spec.decay, end=end)
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _settings(groups: Sequence[ParameterGroup], spec: OptimizerSpec) -> list[dict[str, Any]]:
    """What AdamW is told of each group, matrices and vectors apart."""
    settings = []
    for group in groups:
        decay = spec.group_weight_decay.get(group.name, spec.weight_decay)
        halves = {
            group.name: ([p for p in group.parameters if p.dim() >= 2], decay),
            f"{group.name}/vectors": ([p for p in group.parameters if p.dim() < 2], 0.0),
        }
        settings += [
            {"name": name, "params": members, "weight_decay": value, "lr": spec.lr * group.lr_scale}
            for name, (members, value) in halves.items()
            if members
        ]
    return settings


def rate(
    step: int, steps: int, warmup: float, *, start: float = 0.0, decay: Decay = "linear", end: float = 0.0
) -> float:
    """Learning rate of a step, as a part of its peak: up linearly over warmup * steps, then down to `end`.

    >>> [rate(step, 4, 0.5) for step in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    >>> [round(rate(step, 4, 0.0, decay="cosine"), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    >>> [round(rate(step, 4, 0.0, end=0.2), 3) for step in range(5)]
    [1.0, 0.8, 0.6, 0.4, 0.2]
    """
    rising = round(warmup * steps)
    if step < rising:
        return start + (1 - start) * (step + 1) / rising
    left = max(0.0, (steps - step) / max(1, steps - rising))
    fallen = left if decay == "linear" else 0.5 * (1 - math.cos(math.pi * left))
    return end + (1 - end) * fallen


def planned_steps(trainer: L.Trainer) -> int:
    """Optimiser steps of the whole run, over which a learning rate falls.

    `trainer.estimated_stepping_batches` would start the training loader for this, before a checkpoint has
    restored its position in the epoch, and the position would be lost. Here the DataModule tells the length.

    Args:
        trainer: attached to the module whose optimisers are being made.

    Raises:
        ValueError: neither `max_epochs` nor `max_steps` limits the run.
    """
    if trainer.max_epochs in (None, -1):
        if trainer.max_steps == -1:
            remedy = "Set `max_epochs` or `max_steps`."
            fail(
                "planned_steps", "trainer", "limited: the learning rate falls over its steps", "none", remedy
            )
        return trainer.max_steps
    batches = _batches(trainer)
    steps = math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)


def _batches(trainer: L.Trainer) -> int:
    """Batches of one epoch on this rank."""
    data = getattr(trainer, "datamodule", None)  # an attribute that a Trainer gets when it is given one
    if data is None:
        fail("planned_steps", "trainer", "given a LightningDataModule", "loaders alone")
    batches, limit = len(data.train_dataloader()), trainer.limit_train_batches
    return int(batches * limit) if isinstance(limit, float) else min(batches, limit)
