"""Training of the pose model: the differentiable step, the optimiser, what is logged and what is kept.

Source: spec pose 4 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from refkp import __version__
from refkp._checks import fail
from refkp._extras import named_extras
from refkp.systems.pose.losses.objective import LossSpec, Objective, ObjectiveTerms
from refkp.systems.pose.model.flow import PairPrediction
from refkp.systems.pose.model.pairs import PatchPairs, pairs_from_labels
from refkp.systems.pose.model.spec import VpogSpec
from refkp.systems.pose.model.vpog import Vpog, VpogOutput
from refkp.systems.pose.targets import PoseTargets, TargetSpec, pose_targets
from refkp.systems.pose.training.random_state import random_state, set_random_state
from refkp.systems.pose.training.validation import pose_errors
from refkp.systems.pose.views import PoseBatch
from refkp.training.optim import OptimizerSpec, build_optimizer
from refkp.training.steps import planned_steps

with named_extras():
    import lightning as L
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

#: Learning rate of a pretrained encoder, as a part of that of the other networks.
_PRETRAINED_LR_SCALE = 0.1

#: Steps between two looks at whether the loss is finite; each look waits for the device.
_CHECK_EVERY = 10


class PoseStep(NamedTuple):
    """Everything one forward pass computes."""

    objective: ObjectiveTerms
    output: VpogOutput
    pairs: PatchPairs  # the true partners
    prediction: PairPrediction  # for `pairs`
    targets: PoseTargets


class _Group(NamedTuple):
    name: str
    parameters: Sequence[nn.Parameter]
    lr_scale: float = 1.0


class PoseModule(L.LightningModule):
    """The pose model with its losses.

    Args:
        model: the networks.
        loss: terms and weights.
        targets: how correspondence is decided.
        optimizer: AdamW with warm-up and decay.
    """

    def __init__(
        self,
        model: VpogSpec = VpogSpec(),  # noqa: B008 (frozen)
        loss: LossSpec = LossSpec(),  # noqa: B008 (frozen)
        targets: TargetSpec = TargetSpec(),  # noqa: B008 (frozen)
        optimizer: OptimizerSpec = OptimizerSpec(decay="cosine", warmup_start=0.01),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.model_spec, self.loss_spec = model, loss
        self.target_spec, self.optimizer_spec = targets, optimizer
        self.model = Vpog(model)
        self.objective = Objective(loss)
        self._random_state: dict[str, Any] | None = None  # of the checkpoint, until the first step

    def forward(self, batch: PoseBatch) -> PoseStep:
        """The whole differentiable step; geometry and losses in float32 under mixed precision."""
        patch_size = self.model_spec.encoder.patch_size
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            targets = pose_targets(batch.query, batch.templates, patch_size, self.target_spec)
        with _attention_kernel(self.device):
            output = self.model(batch)
        pairs = pairs_from_labels(targets.labels, targets.labels.shape[-1])
        prediction = self.model.flow(output.tokens, pairs)
        with torch.autocast(self.device.type, enabled=False):
            objective = self.objective(output.logits, prediction, pairs, targets, batch)
        return PoseStep(objective, output, pairs, prediction, targets)

    def training_step(self, batch: PoseBatch, batch_idx: int) -> Tensor:
        """One step; logs the losses and their terms. ValueError when they are no longer finite."""
        step = self(batch)
        self._log_objective("train", step, len(batch.keys))
        if batch_idx % _CHECK_EVERY == 0:
            self._require_finite(step.objective)
        return step.objective.total

    def validation_step(self, batch: PoseBatch, batch_idx: int) -> None:
        """Held-out losses, errors of the flow, and of the pose from predicted matches alone."""
        step = self(batch)
        self._log_objective("val", step, len(batch.keys))
        with torch.autocast(self.device.type, enabled=False):
            values = pose_errors(self.model, step.output, step.targets.labels >= 0, batch)
        named = {f"val/{name}": mean.value for name, mean in values.items()}
        self.log_dict(named, batch_size=len(batch.keys), sync_dist=True)

    def _require_finite(self, objective: ObjectiveTerms) -> None:
        if not bool(torch.isfinite(objective.total)):
            got = ", ".join(f"{name} {float(term.detach()):g}" for name, term in objective.terms.items())
            remedy = "Lower `optimizer.lr`, or look at the data of this step."
            fail("PoseModule", "loss", "finite", f"{got} at step {self.global_step}", remedy)

    def _log_objective(self, phase: str, step: PoseStep, batch_size: int) -> None:
        shared: dict[str, Any] = {"batch_size": batch_size, "sync_dist": phase == "val"}
        objective = step.objective
        self.log(f"{phase}/loss_total", objective.total, prog_bar=True, **shared)
        losses = {f"loss_{name}": objective.values[name] for name in objective.weights}
        watched = {name: value for name, value in objective.values.items() if name not in objective.weights}
        self.log_dict({f"{phase}/{name}": value for name, value in (losses | watched).items()}, **shared)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW and its schedule over the planned number of optimiser steps."""
        return build_optimizer(self._groups(), self.optimizer_spec, planned_steps(self.trainer))

    def _groups(self) -> list[_Group]:
        encoder = list(self.model.encoder.parameters())
        known = {id(parameter) for parameter in encoder}
        others = [parameter for parameter in self.parameters() if id(parameter) not in known]
        pretrained = self.model_spec.encoder.checkpoint is not None
        return [
            _Group("encoder", encoder, _PRETRAINED_LR_SCALE if pretrained else 1.0),
            _Group("rest", others),
        ]

    # ---- checkpoints ----------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Specs as plain values, so that `runs.load_run` can build the networks again, and the random state."""
        checkpoint["pose"] = {
            "model": asdict(self.model_spec),
            "loss": asdict(self.loss_spec),
            "targets": asdict(self.target_spec),
            "version": __version__,
            "random_state": random_state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the random state for the first step: validation and loaders draw numbers before it."""
        self._random_state = checkpoint["pose"]["random_state"]

    def on_train_batch_start(self, batch: PoseBatch, batch_idx: int) -> None:
        """Go on with the random numbers of the interrupted run."""
        if self._random_state is not None:
            set_random_state(self._random_state)
            self._random_state = None


def _attention_kernel(device: torch.device) -> AbstractContextManager[None]:
    """Plain products on a CPU: the backward pass of its fused kernel takes three times as long in bfloat16."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
