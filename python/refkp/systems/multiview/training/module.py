"""Training of the multi-view model: its differentiable step, what is trained at which rate, what is judged.

Source: spec multiview f, g and h.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.nn.ranks import Mean
from refkp.systems.multiview.batch import MultiviewBatch
from refkp.systems.multiview.body.files import body_fields
from refkp.systems.multiview.body.species import load_body
from refkp.systems.multiview.data.prior import training_prior
from refkp.systems.multiview.losses.objective import Objective, ObjectiveTerms, weighted_total
from refkp.systems.multiview.losses.spec import LossSpec
from refkp.systems.multiview.losses.truth import Truth, truth_of
from refkp.systems.multiview.model.network import Estimate, MultiviewModel
from refkp.systems.multiview.model.spec import MultiviewSpec
from refkp.systems.multiview.training.curriculum import CurriculumStage, lr_scale_at, weights_at
from refkp.systems.multiview.training.validation import held_out_errors
from refkp.training.module import SystemModule
from refkp.training.optim import Group, OptimizerSpec

with named_extras():
    from lightning.pytorch.utilities import rank_zero_only

#: Learning rate of an encoder that did not start from random weights, as a part of that of the other networks.
_PRETRAINED_LR_SCALE = 0.1
_RANDOM = ("tiny", "tiny_resnet")


class MultiviewStep(NamedTuple):
    """Everything one forward pass computes."""

    objective: ObjectiveTerms
    estimate: Estimate
    truth: Truth

    @property
    def total(self) -> Tensor:
        """The weighted sum of the losses."""
        return self.objective.total

    @property
    def terms(self) -> dict[str, Tensor]:
        """The losses without their weights; over all ranks in training."""
        return self.objective.values


class MultiviewModule(SystemModule):
    """The multi-view model with its losses.

    Args:
        body: "insect", "mouse", "quadruped", or a body file.
        model: the networks.
        loss: terms and weights.
        curriculum: what changes at which epoch, over `loss` and `optimizer`.
        calibrated_share: of the training samples that are shown with their cameras; 0 trains for cameras that are
            not known alone, 1 for those that are. What is trained is judged, each mode by itself.
        draw_every: epochs between two pictures of held-out samples with the estimated body, in the run's folder
            `pictures`; they are drawn where an epoch is judged. 0: none.
        optimizer: AdamW with warm-up and decay.
    """

    system: ClassVar[str] = "multiview"

    def __init__(
        self,
        body: str = "insect",
        model: MultiviewSpec = MultiviewSpec(),  # noqa: B008 (frozen)
        loss: LossSpec = LossSpec(),  # noqa: B008 (frozen)
        curriculum: Sequence[CurriculumStage] = (),
        calibrated_share: float = 0.5,
        draw_every: int = 0,
        optimizer: OptimizerSpec = OptimizerSpec(decay="cosine", warmup_start=0.01),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(optimizer)
        if not 0 <= calibrated_share <= 1:
            fail("MultiviewModule", "calibrated_share", "in [0,1]", calibrated_share)
        if draw_every < 0:
            fail("MultiviewModule", "draw_every", "at least 0", draw_every)
        self.body_source, self.model_spec, self.loss_spec = body, model, loss
        self.curriculum, self.calibrated_share = tuple(curriculum), calibrated_share
        self.draw_every = draw_every
        for stage in self.curriculum:
            loss.with_weights(stage.weights)
        self.model = MultiviewModel(model, load_body(body))
        self.objective = Objective(loss, self.model.body, model.encoder.image_size)
        self._has_prior = False

    def setup(self, stage: str) -> None:
        """Begin from the mean rig, distance and size of the training set."""
        if self._has_prior:
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        prior = training_prior(data.train_set, self.model.body)
        self.model.set_prior(prior.K, prior.R, prior.depth, prior.size, prior.unit)
        self._has_prior = True

    def forward(self, batch: MultiviewBatch) -> MultiviewStep:
        """The whole differentiable step; geometry and losses in float32 under mixed precision."""
        truth = self._truth(batch)
        shown = torch.rand(len(batch.view_mask), device=self.device) < self.calibrated_share
        if not self.training:
            shown = torch.full_like(shown, self.calibrated_share == 1)
        return self._step(batch, truth, shown, all_ranks=self.training)

    def held_out_values(self, batch: MultiviewBatch, step: MultiviewStep) -> Mapping[str, Mean]:  # type: ignore[override]
        """The terms and errors over all joints and views; where both modes are trained, the calibrated one beside."""
        values = {**step.objective.means, **self._errors(step)}
        if 0 < self.calibrated_share < 1:
            shown = torch.ones(len(batch.view_mask), dtype=torch.bool, device=self.device)
            calibrated = self._step(batch, step.truth, shown, all_ranks=False)
            values |= {f"calibrated/{name}": mean for name, mean in self._errors(calibrated).items()}
        return values

    def held_out_total(self, values: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms over the whole held-out set."""
        return weighted_total(self.objective.weights(self._num_intermediate), values)

    def on_train_epoch_start(self) -> None:
        """Take the weights and the learning rate of the curriculum."""
        self._set_weights()
        scheduler: Any = self.lr_schedulers()
        if scheduler is not None and self.curriculum:
            scale = lr_scale_at(self.curriculum, self.current_epoch)
            groups = scheduler.optimizer.param_groups
            scheduler.base_lrs = [group["initial_lr"] * scale for group in groups]

    def on_validation_epoch_start(self) -> None:
        """Judge by the weights of this epoch."""
        super().on_validation_epoch_start()
        self._set_weights()

    def on_validation_epoch_end(self) -> None:
        """Log the held-out values, and draw."""
        trainer: Any = self.trainer
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if self.draw_every and fitting and (self.current_epoch + 1) % self.draw_every == 0:
            self._draw(Path(trainer.log_dir) / "pictures")
        super().on_validation_epoch_end()

    @rank_zero_only
    def _draw(self, folder: Path) -> None:
        from refkp.systems.multiview.pictures.samples import (
            estimate_figures,
        )  # who does not draw needs no matplotlib
        from refkp.viz.figures import write_figure

        dataset = self.trainer.datamodule.val_set  # type: ignore[attr-defined]
        figures = estimate_figures(self.model, dataset, calibrated=self.calibrated_share == 1)
        for name, figure in figures.items():
            write_figure(figure, folder / f"epoch_{self.current_epoch:04d}_{name}.png")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Log how long the gradient of each group is."""
        for group in self.groups():
            norms = [p.grad.norm() for p in group.parameters if p.grad is not None]
            if norms:
                self.log(f"train/gradient/{group.name}", torch.stack(norms).norm())

    def groups(self) -> list[Group]:
        """The encoder, slower when it is pretrained, and the rest."""
        encoder = [p for p in self.model.features.encoder.parameters() if p.requires_grad]
        known = {id(parameter) for parameter in self.model.features.encoder.parameters()}
        others = [parameter for parameter in self.model.parameters() if id(parameter) not in known]
        scale = 1.0 if self.model_spec.encoder.source in _RANDOM else _PRETRAINED_LR_SCALE
        scale *= self.model_spec.encoder.lr_scale
        return [*([Group("encoder", encoder, scale)] if encoder else []), Group("rest", others)]

    def specs(self) -> dict[str, Any]:
        """Networks, losses, and the body with all its arrays: a checkpoint needs no other file."""
        return {
            "body": body_fields(self.model.body),
            "model": asdict(self.model_spec),
            "loss": asdict(self.loss_spec),
            "calibrated_share": self.calibrated_share,
        }

    def num_samples(self, batch: MultiviewBatch) -> int:
        """Instants of a batch."""
        return len(batch.view_mask)

    @property
    def _num_intermediate(self) -> int:
        head = self.model_spec.body
        return head.iterations - 1 if head.kind == "transformer_decoder" else 0

    def _set_weights(self) -> None:
        weights = weights_at(self.curriculum, self.current_epoch)
        self.objective.spec = self.loss_spec.with_weights(weights)

    def _truth(self, batch: MultiviewBatch) -> Truth:
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            return truth_of(batch)

    def _step(self, batch: MultiviewBatch, truth: Truth, shown: Tensor, *, all_ranks: bool) -> MultiviewStep:
        calibrated = truth.has_camera & shown[:, None]
        estimate = self.model(batch.images, batch.view_mask, batch.camera_indices, truth.cameras, calibrated)
        with torch.autocast(self.device.type, enabled=False):
            objective = self.objective(
                estimate, truth, self.model.prior.unit, calibrated=calibrated, all_ranks=all_ranks
            )
        return MultiviewStep(objective, estimate, truth)

    def _errors(self, step: MultiviewStep) -> dict[str, Mean]:
        objective, size = step.objective, self.model_spec.encoder.image_size
        return held_out_errors(
            objective.joints, objective.projected.uv, step.estimate.cameras, step.truth, size
        )
