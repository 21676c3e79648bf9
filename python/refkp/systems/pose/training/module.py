"""Training of the pose model: its differentiable step, what is trained at which rate, what is judged.

Source: spec pose 4 and 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from refkp.nn.ranks import Mean
from refkp.systems.pose.losses.objective import LossSpec, Objective, ObjectiveTerms, weighted_total
from refkp.systems.pose.model.flow import PairPrediction
from refkp.systems.pose.model.pairs import PatchPairs, pairs_from_labels
from refkp.systems.pose.model.spec import VpogSpec
from refkp.systems.pose.model.vpog import Vpog, VpogOutput
from refkp.systems.pose.targets import PoseTargets, TargetSpec, pose_targets
from refkp.systems.pose.training.validation import pose_errors
from refkp.systems.pose.views import PoseBatch
from refkp.training.module import SystemModule
from refkp.training.optim import Group, OptimizerSpec

#: Learning rate of a pretrained encoder, as a part of that of the other networks.
_PRETRAINED_LR_SCALE = 0.1


class PoseStep(NamedTuple):
    """Everything one forward pass computes."""

    objective: ObjectiveTerms
    output: VpogOutput
    pairs: PatchPairs  # the true partners
    prediction: PairPrediction  # for `pairs`
    targets: PoseTargets

    @property
    def total(self) -> Tensor:
        """The weighted sum of the losses."""
        return self.objective.total

    @property
    def terms(self) -> dict[str, Tensor]:
        """The losses without their weights, and what is worth watching beside them; over all ranks in training."""
        return self.objective.values


class PoseModule(SystemModule):
    """The pose model with its losses.

    Args:
        model: the networks.
        loss: terms and weights.
        targets: how correspondence is decided.
        optimizer: AdamW with warm-up and decay.
    """

    system: ClassVar[str] = "pose"

    def __init__(
        self,
        model: VpogSpec = VpogSpec(),  # noqa: B008 (frozen)
        loss: LossSpec = LossSpec(),  # noqa: B008 (frozen)
        targets: TargetSpec = TargetSpec(),  # noqa: B008 (frozen)
        optimizer: OptimizerSpec = OptimizerSpec(decay="cosine", warmup_start=0.01),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(optimizer)
        self.model_spec, self.loss_spec, self.target_spec = model, loss, targets
        self.model = Vpog(model)
        self.objective = Objective(loss)

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
            objective = self.objective(output.logits, prediction, pairs, targets, batch, self.model)
        return PoseStep(objective, output, pairs, prediction, targets)

    def held_out_values(self, batch: PoseBatch, step: PoseStep) -> Mapping[str, Mean]:  # type: ignore[override]
        """The terms over all labels, pixels and objects, errors of the pose from predicted matches, and chance."""
        with torch.autocast(self.device.type, enabled=False):
            errors = pose_errors(self.model, step.output, step.targets.labels >= 0, batch)
        chance = torch.tensor([1 / step.output.logits.shape[-1]], device=self.device)
        return {**step.objective.means, **errors, "chance": Mean.over(chance)}

    def held_out_total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms over the whole held-out set."""
        return weighted_total(self.objective.weights, values)

    def groups(self) -> list[Group]:
        """The encoder, slower when it is pretrained, and the rest."""
        encoder = list(self.model.encoder.parameters())
        known = {id(parameter) for parameter in encoder}
        others = [parameter for parameter in self.parameters() if id(parameter) not in known]
        pretrained = self.model_spec.encoder.checkpoint is not None
        return [
            Group("encoder", encoder, _PRETRAINED_LR_SCALE if pretrained else 1.0),
            Group("rest", others),
        ]

    def specs(self) -> dict[str, Any]:
        """Networks, losses and targets."""
        return {
            "model": asdict(self.model_spec),
            "loss": asdict(self.loss_spec),
            "targets": asdict(self.target_spec),
        }

    def num_samples(self, batch: PoseBatch) -> int:
        """Objects of a batch."""
        return len(batch.keys)


def _attention_kernel(device: torch.device) -> AbstractContextManager[None]:
    """Plain products on a CPU: the backward pass of its fused kernel takes three times as long in bfloat16."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
