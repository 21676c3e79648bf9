"""Training of the vision stage: loss, optimiser, and what is logged. Source: spec panorama 4.2 and 5."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.systems.panorama.batch import PanoBatch
from refkp.systems.panorama.correspondence import CorrespondenceTable, correspondence_table
from refkp.systems.panorama.losses import LossTerms
from refkp.systems.panorama.metrics import effective_rank, feature_std, overlap_retrieval
from refkp.systems.panorama.model import VisionFeatures, VisionStage, VisionStageSpec
from refkp.systems.panorama.objective import LossSpec, vision_loss
from refkp.training.optim import OptimizerSpec, build_optimizer

with named_extras():
    import lightning as L
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig


class VisionStep(NamedTuple):
    """Everything one forward pass computes."""

    loss: LossTerms
    features: VisionFeatures
    table: CorrespondenceTable


class VisionModule(L.LightningModule):
    """The vision stage of the panorama model with its loss.

    Args:
        model: the networks.
        loss: what they are trained for.
        optimizer: AdamW with linear warm-up and decay.
    """

    def __init__(
        self,
        model: VisionStageSpec = VisionStageSpec(),  # noqa: B008 (frozen)
        loss: LossSpec = LossSpec(),  # noqa: B008 (frozen)
        optimizer: OptimizerSpec = OptimizerSpec(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = VisionStage(model)
        self.loss_spec, self.optimizer_spec = loss, optimizer

    def forward(self, batch: PanoBatch) -> VisionStep:
        """The whole differentiable step; the layout comes with the batch."""
        if batch.views.shape[1] != batch.layout.num_views:
            fail(
                "VisionModule",
                "views",
                f"the {batch.layout.num_views} views of the layout",
                batch.views.shape[1],
            )
        features = self.model(batch.views)
        spec = self.loss_spec
        table = correspondence_table(
            batch.layout, self.model.grid, spec.pairs, margin=spec.margin, device=self.device
        )
        with torch.autocast(self.device.type, enabled=False):  # statistics in float32 under mixed precision
            loss = vision_loss(spec, features, batch.layout, table, self.model.head)
        return VisionStep(loss, features, table)

    def training_step(self, batch: PanoBatch, batch_idx: int) -> Tensor:
        """One step; logs the loss and its terms."""
        loss = self(batch).loss
        self._log_loss("train", loss, len(batch.names))
        return loss.total

    def validation_step(self, batch: PanoBatch, batch_idx: int) -> None:
        """Held-out loss, and what the tokens know before and after the head.

        `retrieval_elsewhere` asks a tile of the next panorama in the batch: what a code of the position
        in the tile earns without content. It should stay far below `retrieval`.
        """
        step = self(batch)
        self._log_loss("val", step.loss, len(batch.names))
        first_tile = 1 if batch.layout.has_global_view else 0
        for name, features in step.features._asdict().items():
            retrieval = overlap_retrieval(features, step.table)
            tiles = features[:, first_tile:].flatten(0, 2)
            values = {
                f"val/{name}/retrieval": retrieval.accuracy,
                f"val/{name}/effective_rank": effective_rank(tiles),
                f"val/{name}/std": feature_std(tiles),
            }
            if len(batch.names) > 1:
                elsewhere = overlap_retrieval(features, step.table, partner_features=features.roll(1, 0))
                values[f"val/{name}/retrieval_elsewhere"] = elsewhere.accuracy
            self.log_dict(values, batch_size=len(batch.names), sync_dist=True)
        self.log("val/chance", retrieval.chance, batch_size=len(batch.names), sync_dist=True)

    def _log_loss(self, phase: str, loss: LossTerms, batch_size: int) -> None:
        values = {"total": loss.total, **loss.terms}
        shared: dict[str, Any] = {"batch_size": batch_size, "sync_dist": phase == "val"}
        self.log_dict({f"{phase}/{name}": value for name, value in values.items()}, **shared)
        self.log(f"{phase}/{loss.loss_path}", loss.total, prog_bar=True, **shared)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW and its schedule over the planned number of steps."""
        steps = int(self.trainer.estimated_stepping_batches)
        return build_optimizer(self, self.optimizer_spec, steps)
