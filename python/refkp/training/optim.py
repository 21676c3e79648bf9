"""AdamW with linear warm-up and linear decay, the same for every system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from refkp._checks import fail

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig


@dataclass(frozen=True)
class OptimizerSpec:
    """AdamW.

    Args:
        lr: learning rate at its peak.
        weight_decay: of matrices; biases, norms and other vectors are not decayed.
        betas: momentum constants.
        warmup: part of all steps in which the rate rises linearly, in [0,1); then it falls linearly to 0.
    """

    lr: float = 1e-4
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = 0.1

    def __post_init__(self) -> None:
        if self.lr <= 0:
            fail("OptimizerSpec", "lr", "above 0", self.lr)
        if not 0 <= self.warmup < 1:
            fail("OptimizerSpec", "warmup", "in [0,1)", self.warmup)


def build_optimizer(module: nn.Module, spec: OptimizerSpec, steps: int) -> OptimizerLRSchedulerConfig:
    """What `configure_optimizers` returns: AdamW on the trained parameters, its schedule stepped per batch.

    Args:
        module: its parameters with `requires_grad` are trained.
        spec: the constants.
        steps: optimiser steps of the whole run.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        fail("build_optimizer", "module", "one with trainable parameters", "none", "Unfreeze a part of it.")
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = AdamW(groups, lr=spec.lr, betas=spec.betas)
    schedule = LambdaLR(optimizer, lambda step: rate(step, steps, spec.warmup))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rate(step: int, steps: int, warmup: float) -> float:
    """Learning rate of a step, as a part of its peak: up linearly over warmup * steps, then down to zero.

    >>> [rate(step, 4, 0.5) for step in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))
