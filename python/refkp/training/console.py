"""What a training says: a line that tells what runs on what, one progress bar, a line per validation, a summary.

Everything else goes to the log file of the stage.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from refkp._extras import named_extras
from refkp.training.optim import planned_steps

with named_extras():
    import lightning as L
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

#: Beginning of a warning that a user can do nothing about -> why it is of no use; all are in the log file.
SILENCED = {
    "The '*_dataloader' does not have many workers": "small data is read faster without processes",
    "The 'train_dataloader' does not have many workers": "as above",
    "The 'val_dataloader' does not have many workers": "as above",
    "The number of training batches": "the curves of short epochs have a point every few epochs",
    "It is recommended to use `self.log": "values are averaged over ranks before they are logged",
    "Found ": "frozen parts compute as in evaluation on purpose",
    "Checkpoint directory ": "a run that goes on keeps its folder",
    "You're resuming from a checkpoint that ended before the epoch ended": "the loaders are resumable",
    "LightningCLI's args parameter": "the command line is read before Lightning sees it",
    "The `srun` command is available": "a run inside an interactive job is fine",
    "Experiment logs directory ": "a run that goes on keeps its logs",
    "`isinstance(treespec, LeafSpec)` is deprecated": "of libraries among themselves",
}

#: Seconds between two lines where there is no terminal to show a bar.
_LINE_EVERY = 60.0


@contextmanager
def quiet_console() -> Iterator[LogFile]:
    """Lightning's messages and all warnings go to a log file; the console keeps warnings that can be acted on."""
    log = LogFile()
    shown = logging.StreamHandler(sys.stderr)
    shown.setLevel(logging.WARNING)
    shown.addFilter(_is_of_use)
    shown.setFormatter(logging.Formatter("%(message)s"))
    names = ("lightning", "lightning.pytorch", "lightning.fabric", "py.warnings")
    loggers = [logging.getLogger(name) for name in names]
    kept = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    for logger, _, _ in kept:
        logger.handlers, logger.propagate = [], logger.name.count(".") > 0 and logger.name != "py.warnings"
    roots = [logger for logger in loggers if not logger.propagate]
    for logger in roots:
        logger.handlers = [shown, log.handler]
    logging.captureWarnings(True)
    show, warnings.formatwarning = warnings.formatwarning, _one_line
    try:
        yield log
    finally:
        log.handler.close()
        warnings.formatwarning = show
        logging.captureWarnings(False)
        for logger, handlers, propagate in kept:
            logger.handlers, logger.propagate = handlers, propagate


class LogFile:
    """Keeps records until it is told where the log file is."""

    def __init__(self) -> None:
        self.handler = MemoryHandler(10_000, flushLevel=logging.CRITICAL + 1, flushOnClose=False)

    def open(self, path: Path) -> None:
        """Append to `path` from now on, what came before included."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.handler.setTarget(file)
        self.handler.flush()
        self.handler.capacity = 1  # each record is written at once


def _is_of_use(record: logging.LogRecord) -> bool:
    return not record.getMessage().lstrip().startswith(tuple(SILENCED))


def _one_line(message: Warning | str, *_: Any, **__: Any) -> str:
    return str(message)


class ProgressLine(L.Callback):
    """One bar over the whole training with the time left, and a line for each validation.

    Args:
        monitor: the held-out value that picks the best checkpoint.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._total = self._first = 0
        self._start = self._said = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin at the step of an interrupted run."""
        if not trainer.is_global_zero:
            return
        self._total, self._first = planned_steps(trainer), trainer.global_step
        self._start = self._said = time.monotonic()
        if self.console.is_terminal:
            columns = (TextColumn("step {task.completed}/{task.total}"), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(
                *columns, TextColumn("{task.description}"), console=self.console, transient=True
            )
            self._task = self._bar.add_task("", total=self._total, completed=self._first)
            self._bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; without a terminal, say now and then how far it is."""
        if not trainer.is_global_zero:
            return
        step, now = trainer.global_step, time.monotonic()
        if self._bar is not None:
            shown = ("train/total", self.monitor)
            self._bar.update(self._task, completed=step, description=_values(trainer.callback_metrics, shown))
        elif now - self._said > _LINE_EVERY:
            self._said = now
            left = timedelta(seconds=round((now - self._start) / (step - self._first) * (self._total - step)))
            values = _values(trainer.callback_metrics, ("train/total",))
            self.console.print(f"step {step}/{self._total}  {left} left  {values}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The step, and the values that matter."""
        if trainer.is_global_zero and trainer.state.fn == "fit":
            values = _values(
                trainer.callback_metrics, dict.fromkeys(("train/total", "val/total", self.monitor))
            )
            line = f"step {trainer.global_step}/{self._total}  {values}"
            self.console.print(line)
            logging.getLogger("lightning.pytorch").info(line)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Clear the bar."""
        if self._bar is not None:
            self._bar.stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Clear the bar."""
        if self._bar is not None:
            self._bar.stop()


def _values(metrics: Mapping[str, Any], names: Any) -> str:
    return "  ".join(f"{name} {float(metrics[name]):.4g}" for name in names if name in metrics)
