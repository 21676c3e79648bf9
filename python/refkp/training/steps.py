"""How many optimiser steps a run is planned to take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from refkp._checks import fail

if TYPE_CHECKING:
    import lightning as L


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
