"""The checkpoint from which a run goes on: written every few minutes, at the end, and before a signal stops it.

It is written only where going on is exact: after a whole optimiser step, and after a validation rather than just
before it, so that no best checkpoint is missed.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import distributed

from refkp._extras import named_extras
from refkp.training.signals import ENDING

with named_extras():
    import lightning as L
    from lightning.pytorch.callbacks import Checkpoint

#: Steps between two looks at what the other ranks were told; each look waits for all of them.
_LOOK_EVERY = 10


class Stopped(Exception):
    """A signal ended the training after its checkpoint was written."""

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(signal_number, step)
        self.signal_number, self.step = signal_number, step


class Safeguard(Checkpoint):
    """Writes `path`; Lightning calls it behind the callback that keeps the best checkpoints.

    The first SIGINT or SIGTERM ends the training at the next such place, a second one at once.

    Args:
        path: of the checkpoint.
        minutes: between two; `kill -9` loses as much. 0 writes it after every step.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path, self.minutes = path, minutes
        self._written = 0.0
        self._signal = 0  # the number of the one that came
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on there is something to keep."""
        _begin_next_epoch(trainer)
        self._written = time.monotonic()
        for number in ENDING:
            self._handlers[number] = signal.signal(number, self._note)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Within an epoch, unless gradients are still being accumulated or a validation follows."""
        loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
        if fetcher is None or loop.batch_progress.is_last_batch or loop._should_accumulate():
            return
        if not loop._should_check_val_fx(fetcher):
            self._look(trainer, always=not _several(trainer))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After a validation within an epoch."""
        if trainer.state.fn == "fit" and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._look(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After the last step of an epoch and the validation that may follow it."""
        self._look(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The whole training: what is left is to judge it."""
        trainer.save_checkpoint(self.path)
        self._restore_handlers()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Signals mean again what they meant."""
        self._restore_handlers()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal:
            self._restore_handlers()
            signal.raise_signal(number)
        self._signal = number

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _look(self, trainer: L.Trainer, *, always: bool = True) -> None:
        """Write the checkpoint if it is time, on all ranks alike, and stop if one of them was told to."""
        if not always and trainer.global_step % _LOOK_EVERY:
            return
        due = time.monotonic() - self._written >= 60 * self.minutes
        due, number = self._of_all_ranks(trainer, due)
        if trainer.should_stop or not (due or number):
            return  # a training that ends now is written as a whole
        trainer.save_checkpoint(self.path)
        self._written = time.monotonic()
        if number:
            raise Stopped(number, trainer.global_step)

    def _of_all_ranks(self, trainer: L.Trainer, due: bool) -> tuple[bool, int]:
        if not _several(trainer):
            return due, self._signal
        both = torch.tensor([int(due), self._signal], device=trainer.strategy.root_device)
        distributed.all_reduce(both, op=distributed.ReduceOp.MAX)
        due_now, number = both.tolist()
        return bool(due_now), int(number)


def _begin_next_epoch(trainer: L.Trainer) -> None:
    """Where a run with `max_steps` goes on from the end of an epoch, that epoch is over.

    Lightning would run it once more, without a batch, and count it twice: the epoch after it would be left out.
    """
    loop = trainer.fit_loop
    if loop.restarted_on_epoch_end:
        loop.epoch_progress.increment_completed()
        loop.reset_restart_stage()
        loop._restarting = loop.epoch_loop._restarting = loop.epoch_loop.val_loop._restarting = False


def _several(trainer: L.Trainer) -> bool:
    return trainer.world_size > 1
