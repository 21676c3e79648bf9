"""Training from its command line: fit, and the record of it. Source: spec pose 5."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from refkp._checks import fail
from refkp._extras import named_extras
from refkp._files import write_text
from refkp.systems.pose.data.datamodule import PoseData
from refkp.systems.pose.training.module import PoseModule
from refkp.systems.pose.training.runs import SUMMARY
from refkp.training.cli import TrainingCLI, resolve_arguments

with named_extras():
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.cli import LightningArgumentParser

_PRESETS = "refkp.systems.pose.configs"

_DESCRIPTION = (
    "Train the pose model on pictures of known objects and their templates. `--config` takes tiny, base or a "
    "YAML file; `--data` and `--out` are short for --data.source and --trainer.default_root_dir; `--resume FILE` "
    "goes on from a checkpoint of an interrupted run."
)

#: Option -> options that follow it: one size of crops and patches in data and networks.
_LINKS = {
    "model.model.encoder.image_size": ("data.image_size",),
    "model.model.encoder.patch_size": ("data.patch_size",),
}


@dataclass(frozen=True)
class TrainingRun:
    """A finished training: held-out values before and after, and where everything lies."""

    before: dict[str, float]
    after: dict[str, float]
    num_training: int  # samples of an epoch
    num_held_out: int
    num_patches: int  # N; a guess among N + 1 classes is right by chance once in N + 1
    seconds: float  # of the training alone
    checkpoint: str  # the best, from the folder of the run
    folder: Path


class PoseCLI(TrainingCLI):
    """The training command: one folder per run."""

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(
            PoseModule,
            PoseData,
            resolve_arguments(arguments, _PRESETS),
            prog="refkp train pose",
            description=_DESCRIPTION,
            monitor=("val/loss_total", "min"),
            links=_LINKS,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Where the checkpoints lie, and from which one to go on."""
        super().add_arguments_to_parser(parser)
        parser.add_argument("--resume", type=Path | None, default=None, help="checkpoint to go on from")
        parser.link_arguments(
            "trainer.default_root_dir", "checkpoint.dirpath", lambda root: str(Path(root) / "checkpoints")
        )

    def log_folder(self, root: str) -> tuple[str, str, str | None]:
        """The folder of the run itself."""
        return root, "", ""


def run_training(arguments: Sequence[str]) -> TrainingRun:
    """Train as `refkp train pose ARGUMENTS` does.

    Args:
        arguments: the command line after `pose`.
    """
    cli = PoseCLI(arguments)
    cli.datamodule.setup("fit")  # an error in the data leaves no files behind
    cli.tune()
    before = dict(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
    start = time.perf_counter()
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.config["resume"])
    seconds = time.perf_counter() - start
    after = dict(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
    folder = Path(cli.trainer.default_root_dir)
    rows, columns = cli.model.model.grid
    run = TrainingRun(
        before,
        after,
        len(cli.datamodule.train_set),
        len(cli.datamodule.val_set),
        rows * columns,
        seconds,
        str(_best_checkpoint(cli).resolve().relative_to(folder.resolve())),
        folder,
    )
    if cli.trainer.is_global_zero:
        values = {name: value for name, value in vars(run).items() if name != "folder"}
        write_text(folder / SUMMARY, json.dumps(values, indent=2) + "\n")
    return run


def _best_checkpoint(cli: PoseCLI) -> Path:
    callback = cli.trainer.checkpoint_callback
    if not (isinstance(callback, ModelCheckpoint) and callback.best_model_path):
        fail("train", "trainer", "one that writes a checkpoint", "none", "Validate at least once.")
    return Path(callback.best_model_path)
