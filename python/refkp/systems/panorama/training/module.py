"""Training of the three stages: losses, optimiser, and what is logged. Source: spec panorama 4.2 and 5."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_choice
from refkp._extras import named_extras
from refkp.systems.panorama.batch import PanoBatch
from refkp.systems.panorama.losses import LossTerms
from refkp.systems.panorama.losses.objective import LossSpec, vision_loss
from refkp.systems.panorama.metrics.diagnostics import view_values
from refkp.systems.panorama.model.stages import STAGES, Stage, parameter_groups, select_stage
from refkp.systems.panorama.model.vision import VisionFeatures
from refkp.systems.panorama.model.vlm import PanoramaVLM, PanoramaVLMSpec
from refkp.systems.panorama.overlaps.correspondence import CorrespondenceTable, correspondence_table
from refkp.training.optim import OptimizerSpec, build_optimizer

with named_extras():
    import lightning as L
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig


#: Steps between two looks at whether the loss is finite; each look waits for the device.
_CHECK_EVERY = 10


class PanoramaStep(NamedTuple):
    """Everything one forward pass computes; a part that the stage does not need is None."""

    total: Tensor  # scalar, what is trained
    features: VisionFeatures
    caption: Tensor | None  # scalar, cross entropy of the answers
    overlap: LossTerms | None
    table: CorrespondenceTable | None


class PanoramaModule(L.LightningModule):
    """One stage of the panorama model with its loss.

    vision: the overlap loss; resampler: caption loss + `vision_loss_weight` x overlap loss; finetune: the
    caption loss. What is trained in each is `stages.select_stage`.

    Args:
        stage: "vision", "resampler" or "finetune".
        model: the networks; the vision stage builds no language model.
        loss: the overlap loss.
        optimizer: AdamW with linear warm-up and decay.
        vision_loss_weight: of the overlap loss in the resampler stage.
    """

    def __init__(
        self,
        stage: Stage = "vision",
        model: PanoramaVLMSpec = PanoramaVLMSpec(),  # noqa: B008 (frozen)
        loss: LossSpec = LossSpec(),  # noqa: B008 (frozen)
        optimizer: OptimizerSpec = OptimizerSpec(),  # noqa: B008 (frozen)
        vision_loss_weight: float = 0.1,
    ) -> None:
        super().__init__()
        require_choice("PanoramaModule", "stage", stage, STAGES)
        if vision_loss_weight < 0:
            fail("PanoramaModule", "vision_loss_weight", "at least 0", vision_loss_weight)
        if stage == "vision" and loss.kind == "none":
            remedy = "Begin with the stage resampler."
            fail("PanoramaModule", "loss.kind", "a loss in the vision stage", "'none'", remedy)
        self.stage, self.model_spec = stage, model
        self.model = PanoramaVLM(model, with_language=stage != "vision")
        select_stage(self.model, stage)
        self.loss_spec, self.optimizer_spec = loss, optimizer
        self.vision_loss_weight = vision_loss_weight

    def forward(self, batch: PanoBatch) -> PanoramaStep:
        """The whole differentiable step; layout and texts come with the batch."""
        if (batch.text is None) != (self.stage == "vision"):
            rule = "without texts in the vision stage, with texts in the others"
            fail(
                "PanoramaModule", "batch", rule, f"stage {self.stage!r}", "PanoramaData has the same `stage`."
            )
        output = self.model(batch)
        weight = {"vision": 1.0, "resampler": self.vision_loss_weight, "finetune": 0.0}[self.stage]
        if not weight or self.loss_spec.kind == "none":
            return PanoramaStep(output.loss, output.features, output.loss, None, None)
        overlap, table = self._overlap(batch, output.features)
        total = weight * overlap.total if output.loss is None else output.loss + weight * overlap.total
        return PanoramaStep(total, output.features, output.loss, overlap, table)

    def _overlap(self, batch: PanoBatch, features: VisionFeatures) -> tuple[LossTerms, CorrespondenceTable]:
        spec, vision = self.loss_spec, self.model.vision
        table = correspondence_table(
            batch.layout, vision.grid, spec.pairs, margin=spec.margin, device=self.device
        )
        with torch.autocast(self.device.type, enabled=False):  # statistics in float32 under mixed precision
            return vision_loss(spec, features, batch.layout, table, vision.head), table

    def on_fit_start(self) -> None:
        """Frozen vision parts compute as in evaluation. The language model does not: its gradient checkpointing
        works in training mode alone, also while it is frozen."""
        self.model.train()
        vision = self.model.vision
        for part in (vision.encoder, vision.resampler, vision.head):
            part.train(_is_trained(part))

    def training_step(self, batch: PanoBatch, batch_idx: int) -> Tensor:
        """One step; logs the losses and their terms. ValueError when they are no longer finite."""
        step = self(batch)
        self._log_losses("train", step, len(batch.names))
        if batch_idx % _CHECK_EVERY == 0:
            self._require_finite(step)
        return step.total

    def validation_step(self, batch: PanoBatch, batch_idx: int) -> None:
        """Held-out losses, and what the tokens know before and after the head while they are trained."""
        step = self(batch)
        self._log_losses("val", step, len(batch.names))
        if step.table is None:
            return
        values = view_values(step.features, step.table, batch.layout)
        named = {f"val/{name}": value for name, value in values.items()}
        self.log_dict(named, batch_size=len(batch.names), sync_dist=True)

    def _require_finite(self, step: PanoramaStep) -> None:
        if not bool(torch.isfinite(step.total)):
            terms = {} if step.overlap is None else dict(step.overlap.terms)
            parts = {"caption": step.caption, **terms}
            got = ", ".join(
                f"{name} {float(part.detach()):g}" for name, part in parts.items() if part is not None
            )
            remedy = "Lower `optimizer.lr`, or look at the data of this step."
            fail("PanoramaModule", "loss", "finite", f"{got} at step {self.global_step}", remedy)

    def _log_losses(self, phase: str, step: PanoramaStep, batch_size: int) -> None:
        values: dict[str, Any] = {"total": step.total}
        if step.caption is not None:
            values["caption"] = step.caption
        if step.overlap is not None:
            values |= {step.overlap.loss_path: step.overlap.total, **step.overlap.terms}
        shared: dict[str, Any] = {"batch_size": batch_size, "sync_dist": phase == "val"}
        self.log(f"{phase}/total", values.pop("total"), prog_bar=True, **shared)
        self.log_dict({f"{phase}/{name}": value for name, value in values.items()}, **shared)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW and its schedule over the planned number of optimiser steps."""
        steps = int(self.trainer.estimated_stepping_batches)
        return build_optimizer(parameter_groups(self.model, self.stage), self.optimizer_spec, steps)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The networks as plain values, so that `runs.load_run` can build them again."""
        specs = {"model": asdict(self.model_spec), "loss": asdict(self.loss_spec)}
        checkpoint["panorama"] = {"stage": self.stage, **specs}


def _is_trained(part: nn.Module) -> bool:
    """Whether a part is to act as in training; one without parameters, such as a token dropper, always is."""
    parameters = list(part.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)
