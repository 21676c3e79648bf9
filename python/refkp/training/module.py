"""What every system's training does alike: logging, looking for NaN, the optimiser, and the checkpoint.

A system supplies `forward`, `groups`, `held_out_values`, `specs` and `num_samples`. Logged are

    train/total, train/NAME   the loss and its terms, of each step, over all ranks
    val/total, val/NAME       the same and the held-out values, over the whole held-out set
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, distributed

from refkp import __version__
from refkp._checks import fail
from refkp._extras import named_extras
from refkp.nn.ranks import Mean, all_rank_means, several_ranks
from refkp.training.checkpoint import KEY, Checkpoint
from refkp.training.optim import OptimizerSpec, ParameterGroup, build_optimizer, planned_steps
from refkp.training.random_state import random_state, set_random_state

with named_extras():
    import lightning as L
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

#: Steps between two looks at whether the loss is finite; each look waits for the device.
_CHECK_EVERY = 10


class Step(Protocol):
    """Everything that one differentiable step computes; a system's own type adds what it needs further."""

    @property
    def total(self) -> Tensor:
        """Scalar, what is trained. Averaged over ranks it is the loss of the whole batch."""

    @property
    def terms(self) -> Mapping[str, Tensor]:
        """Name -> scalar without its weight, for the log; averaged over ranks likewise."""


class SystemModule(L.LightningModule):
    """The base of every system's Lightning module.

    Args:
        optimizer: AdamW with warm-up and decay.
    """

    #: Name of the system, as in `refkp train SYSTEM`.
    system: ClassVar[str]

    def __init__(self, optimizer: OptimizerSpec) -> None:
        super().__init__()
        self.optimizer_spec = optimizer
        self._held_out: dict[str, Mean] = {}  # of the batches of this validation
        self._resumed_state: dict[str, Any] | None = (
            None  # random state of the checkpoint, until the first step
        )
        self._training_state: dict[str, Any] = {}  # random state of training, during validation

    # ---- what a system supplies -----------------------------------------------------------------

    def forward(self, batch: Any) -> Step:
        """The whole differentiable step; geometry, losses and solvers in float32 under mixed precision."""
        raise NotImplementedError

    def groups(self) -> Sequence[ParameterGroup]:
        """The trainable parameters, each once."""
        raise NotImplementedError

    def held_out_values(self, batch: Any, step: Step) -> Mapping[str, Tensor | Mean]:
        """What is judged beside the losses on held-out data; a plain scalar is weighted by the batch's samples."""
        return {}

    def held_out_total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The loss of the whole held-out set; by default the mean of the batches, weighted by their samples."""
        return values["total"]

    def specs(self) -> dict[str, Any]:
        """Plain values from which the networks can be built again."""
        raise NotImplementedError

    def num_samples(self, batch: Any) -> int:
        """Samples in a batch."""
        raise NotImplementedError

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Begin with the weights of the stage before, all of them."""
        self.load_state_dict(checkpoint.state_dict)

    # ---- steps ----------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One step; logs the loss and its terms. ValueError on all ranks when one is no longer finite."""
        step = self(batch)
        names, values = zip(*_scalars(step).items(), strict=True)
        means = torch.as_tensor(self.trainer.strategy.reduce(torch.stack(values), reduce_op="mean"))
        self.log_dict(
            {f"train/{name}": mean for name, mean in zip(names, means, strict=True)},
            batch_size=self.num_samples(batch),
        )
        if batch_idx % _CHECK_EVERY == 0:
            self.require_finite(step)
        return step.total

    def require_finite(self, step: Step) -> None:
        """Raise ValueError unless the loss is finite on every rank."""
        finite = bool(torch.isfinite(step.total))
        if not _on_all_ranks(finite, self.device):
            got = ", ".join(f"{name} {float(term):g}" for name, term in _scalars(step).items())
            where = "" if finite else " on this rank" if several_ranks() else ""
            remedy = "Lower `optimizer.lr`, or look at the data of this step."
            fail(type(self).__name__, "loss", "finite", f"{got}{where} at step {self.global_step}", remedy)

    def on_validation_epoch_start(self) -> None:
        """Held-out values are repeatable: their random draws are those of one seed, and none of training's."""
        self._held_out = {}
        self._training_state = random_state()
        torch.manual_seed(0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add a batch to the held-out values."""
        step = self(batch)
        count = torch.tensor(self.num_samples(batch), device=self.device)
        for name, value in {**_scalars(step), **self.held_out_values(batch, step)}.items():
            mean = value if isinstance(value, Mean) else Mean(value.double() * count, count)
            self._held_out[name] = self._held_out[name] + mean if name in self._held_out else mean

    def on_validation_epoch_end(self) -> None:
        """Log the held-out values, and go on with the random numbers of training."""
        values = all_rank_means(self._held_out)
        values["total"] = self.held_out_total(values)
        if not bool(torch.isfinite(values["total"])):  # the same on all ranks
            remedy = "Lower `optimizer.lr`, or look at the held-out data."
            got = f"{float(values['total']):g} at step {self.global_step}"
            fail(type(self).__name__, "loss", "finite on held-out data", got, remedy)
        self.log_dict({f"val/{name}": value.float() for name, value in values.items()})
        set_random_state(self._training_state)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW and its schedule over the planned number of optimiser steps."""
        return build_optimizer(self.groups(), self.optimizer_spec, planned_steps(self.trainer))

    # ---- checkpoints ----------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What `read_checkpoint` needs, and the random state of every rank."""
        data = getattr(self.trainer, "datamodule", None)
        checkpoint[KEY] = {
            "system": self.system,
            "version": __version__,
            "specs": {**self.specs(), "data": {} if data is None else data.specs()},
            "random_state": _of_all_ranks(random_state()),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the random state for the first step: validation and loaders come before it."""
        states = checkpoint[KEY]["random_state"]
        rank, num_ranks = self.trainer.global_rank, self.trainer.world_size
        self._resumed_state = states[rank] if len(states) == num_ranks else None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Go on with the random numbers of the interrupted run."""
        if self._resumed_state is not None:
            set_random_state(self._resumed_state)
            self._resumed_state = None


def _scalars(step: Step) -> dict[str, Tensor]:
    """The loss and its terms without their graph, in float32."""
    return {name: value.detach().float() for name, value in {"total": step.total, **step.terms}.items()}


def _on_all_ranks(truth: bool, device: torch.device) -> bool:
    if not several_ranks():
        return truth
    count = torch.tensor(int(truth), device=device)
    distributed.all_reduce(count, op=distributed.ReduceOp.MIN)
    return bool(count)


def _of_all_ranks(value: dict[str, Any]) -> list[Any]:
    if not several_ranks():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values
