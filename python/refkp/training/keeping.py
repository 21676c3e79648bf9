"""How checkpoints are written and which are kept: whole or not at all, and wherever the folder of the run lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from refkp._extras import named_extras
from refkp._files import whole_file
from refkp.training.checkpoint import load_whole

with named_extras():
    import lightning as L
    from lightning.fabric.plugins import TorchCheckpointIO
    from lightning.pytorch.callbacks import ModelCheckpoint


class WholeCheckpoints(TorchCheckpointIO):
    """Writes beside the checkpoint and renames; Lightning's own way is a copy where /tmp is another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Lightning calls it on the first rank alone."""
        with whole_file(path) as unfinished:
            torch.save(checkpoint, unfinished)

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Everything in a checkpoint; a broken one, from which a run cannot go on, is told as such."""
        return load_whole(path, map_location=map_location)


class ModelCheckpoints(ModelCheckpoint):
    """The best checkpoints; a run that was moved keeps them."""

    _last_validated = -1  # the step of the last validation

    def on_train_batch_end(self, trainer: L.Trainer, *arguments: Any) -> None:
        """After the last of `max_steps`: what is told to stop is validated first, so that it can be the best."""
        super().on_train_batch_end(trainer, *arguments)
        if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember what the values that checkpoints are judged by belong to."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == "fit":
            self._last_validated = trainer.global_step

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The last step is among the checkpoints, whatever `every_n_*` says, if it was validated."""
        super().on_train_epoch_end(trainer, pl_module)
        is_last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        is_judged = self._last_validated == trainer.global_step
        if is_last and is_judged and not self._should_skip_saving_checkpoint(trainer):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the same files in the folder of the run as it is called now."""
        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        here = {name: self._here(state_dict[name]) for name in paths}
        best = {self._here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **here, "best_k_models": best, "dirpath": self.dirpath})

    def _here(self, path: str) -> str:
        return str(Path(str(self.dirpath), Path(path).name)) if path else path
