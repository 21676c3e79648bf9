"""Training of the three stages: what is lost, trained and judged in each. Source: spec panorama 4.2 and 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_choice
from refkp.nn.ranks import Mean, all_rank_means
from refkp.systems.panorama.batch import PanoBatch
from refkp.systems.panorama.losses import LossTerms
from refkp.systems.panorama.losses.objective import LossSpec, vision_loss
from refkp.systems.panorama.metrics.diagnostics import view_values
from refkp.systems.panorama.model.trainable import ParameterGroup, parameter_groups, select_stage
from refkp.systems.panorama.model.vision import VisionFeatures
from refkp.systems.panorama.model.vlm import PanoramaVLM, PanoramaVLMSpec
from refkp.systems.panorama.overlaps.correspondence import CorrespondenceTable, correspondence_table
from refkp.systems.panorama.stages import STAGES, Stage
from refkp.systems.panorama.training.runs import load_weights
from refkp.training.checkpoint import Checkpoint
from refkp.training.module import SystemModule
from refkp.training.optim import OptimizerSpec


class PanoramaStep(NamedTuple):
    """Everything one forward pass computes; a part that the stage does not need is None."""

    total: Tensor  # scalar, what is trained
    features: VisionFeatures
    caption: Tensor | None  # scalar, cross entropy of the answers; in training of those of all ranks
    answers: Mean | None  # the same of this rank's batch
    overlap: LossTerms | None
    table: CorrespondenceTable | None

    @property
    def terms(self) -> dict[str, Tensor]:
        """The caption loss, the overlap loss by the path it took, and its terms."""
        terms = {} if self.caption is None else {"caption": self.caption}
        if self.overlap is not None:
            terms |= {self.overlap.loss_path: self.overlap.total, **self.overlap.terms}
        return terms


class PanoramaModule(SystemModule):
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

    system: ClassVar[str] = "panorama"

    def __init__(
        self,
        stage: Stage = "vision",
        model: PanoramaVLMSpec = PanoramaVLMSpec(),  # noqa: B008 (frozen)
        loss: LossSpec = LossSpec(),  # noqa: B008 (frozen)
        optimizer: OptimizerSpec = OptimizerSpec(),  # noqa: B008 (frozen)
        vision_loss_weight: float = 0.1,
    ) -> None:
        super().__init__(optimizer)
        require_choice("PanoramaModule", "stage", stage, STAGES)
        if vision_loss_weight < 0:
            fail("PanoramaModule", "vision_loss_weight", "at least 0", vision_loss_weight)
        if stage == "vision" and loss.kind == "none":
            remedy = "Begin with the stage resampler."
            fail("PanoramaModule", "loss.kind", "a loss in the vision stage", "'none'", remedy)
        self.stage, self.model_spec = stage, model
        self.model = PanoramaVLM(model, with_language=stage != "vision")
        select_stage(self.model, stage)
        self.loss_spec = loss
        self.vision_loss_weight = vision_loss_weight

    def forward(self, batch: PanoBatch) -> PanoramaStep:
        """The whole differentiable step; layout and texts come with the batch."""
        if (batch.text is None) != (self.stage == "vision"):
            rule = "without texts in the vision stage, with texts in the others"
            fail(
                "PanoramaModule", "batch", rule, f"stage {self.stage!r}", "PanoramaData has the same `stage`."
            )
        output = self.model(batch)
        caption = output.loss
        if self.training and output.caption is not None:
            caption = all_rank_means({"caption": output.caption})["caption"]
        weight = {"vision": 1.0, "resampler": self.vision_loss_weight, "finetune": 0.0}[self.stage]
        if not weight or self.loss_spec.kind == "none":
            assert caption is not None  # the vision stage has a loss, the others have texts
            return PanoramaStep(caption, output.features, caption, output.caption, None, None)
        overlap, table = self._overlap(batch, output.features)
        total = weight * overlap.total if caption is None else caption + weight * overlap.total
        return PanoramaStep(total, output.features, caption, output.caption, overlap, table)

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

    def held_out_values(self, batch: PanoBatch, step: PanoramaStep) -> Mapping[str, Tensor | Mean]:  # type: ignore[override]
        """The caption loss over all answers; what the tokens know before and after the head, while they are trained."""
        values: dict[str, Tensor | Mean] = {} if step.answers is None else {"caption": step.answers}
        if step.table is not None:
            values |= view_values(step.features, step.table, batch.layout)
        return values

    def groups(self) -> list[ParameterGroup]:
        """What the stage trains."""
        return parameter_groups(self.model, self.stage)

    def num_samples(self, batch: PanoBatch) -> int:
        """Panoramas of a batch."""
        return len(batch.names)

    def specs(self) -> dict[str, Any]:
        """Stage, networks and loss."""
        return {"stage": self.stage, "model": asdict(self.model_spec), "loss": asdict(self.loss_spec)}

    def start_from(self, checkpoint: Checkpoint) -> None:
        """The weights of the stage before; a vision checkpoint has no projector and no language model."""
        load_weights(self.model, checkpoint)


def _is_trained(part: nn.Module) -> bool:
    """Whether a part is to act as in training; one without parameters, such as a token dropper, always is."""
    parameters = list(part.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)
