"""Training of one stage from its command line: plan, weights of the stage before, fit, and the record of it.

Source: spec panorama 4.2, 4.3 and 5.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from refkp._checks import fail
from refkp._extras import named_extras
from refkp._files import write_text
from refkp.systems.panorama.data.datamodule import PanoramaData
from refkp.systems.panorama.model.stages import Stage
from refkp.systems.panorama.training.module import PanoramaModule
from refkp.systems.panorama.training.runs import begin_stage, complete_stage, load_weights, plan_stage
from refkp.training.cli import TrainingCLI, resolve_arguments

with named_extras():
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.cli import LightningArgumentParser

_PRESETS = "refkp.systems.panorama.configs"

_DESCRIPTION = (
    "Train one stage of the panorama model. Beside the options below: `--stage all` trains the stages in turn; "
    "`--fresh` trains a complete or interrupted stage from its beginning and puts the old one aside; `--config` "
    "takes tiny, base or a YAML file; `--data` and `--out` are short for --data.source and "
    "--trainer.default_root_dir."
)

#: The value that picks the best checkpoint.
_MONITOR = {
    "vision": ("val/tokens/retrieval", "max"),
    "resampler": ("val/caption", "min"),
    "finetune": ("val/caption", "min"),
}

#: Option -> options that follow it: one layout, one view size and one language model in data and networks.
_LINKS = {
    "stage": ("model.stage", "data.stage"),
    "model.model.vision.encoder.image_size": ("data.view_size",),
    "model.model.language.source": ("data.language",),
}


#: Options of the data that may differ when a stage goes on: how it is read, and what follows the networks.
_FREE = ("num_workers", "prefetch", "cache", "batch_size", "layout", "language", "view_size")


#: Options -> the value with which a stage would end without a checkpoint.
_WITHOUT_CHECKPOINT = {
    "trainer.enable_checkpointing": False,
    "trainer.limit_val_batches": 0,
    "trainer.fast_dev_run": True,
    "checkpoint.save_top_k": 0,
}


@dataclass(frozen=True)
class TrainingRun:
    """A finished stage: held-out values before and after, and where everything lies."""

    stage: Stage
    before: dict[str, float]
    after: dict[str, float]
    held_out: list[str]  # file names
    num_training: int  # samples
    seconds: float  # of the training alone
    folder: Path
    skipped: bool = False  # the stage was complete already


@dataclass
class _Stage:
    """What of the command line is read before the configuration."""

    name: Stage
    given: bool  # on the command line, not by default
    fresh: bool
    arguments: list[str] = field(default_factory=list)


class PanoramaCLI(TrainingCLI):
    """The training command of one stage; builds nothing when the stage is complete already."""

    def __init__(self, stage: _Stage) -> None:
        self._stage = stage
        arguments = [*stage.arguments, f"--stage={stage.name}"] if stage.given else stage.arguments
        super().__init__(
            PanoramaModule,
            PanoramaData,
            resolve_arguments(arguments, _PRESETS, stage.name),
            prog="refkp train panorama",
            description=_DESCRIPTION,
            monitor=_MONITOR[stage.name],
            links=_LINKS,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The stage, and where its checkpoints lie."""
        parser.add_argument("--stage", type=Stage, default="vision", help="which stage, or `all` in order")
        super().add_arguments_to_parser(parser)
        parser.link_arguments(
            ("trainer.default_root_dir", "stage"),
            "checkpoint.dirpath",
            lambda root, stage: str(Path(root) / stage / "checkpoints"),
        )

    def log_folder(self, root: str) -> tuple[str, str, str | None]:
        """The folder of the stage in that of the run."""
        return root, self._stage.name, ""

    def before_instantiate_classes(self) -> None:
        """Plan the stage from the resolved configuration."""
        if self.config["stage"] != self._stage.name:
            remedy = f"Add `--stage {self.config['stage']}`."
            fail("train", "stage", "given on the command line", "one in a configuration file alone", remedy)
        self._require_checkpoints()
        self.run = Path(self.config["trainer"]["default_root_dir"])
        self.folder = self.run / self._stage.name
        model, data = self.config["model"], self.config["data"]
        views = {"layout": data["layout"].as_dict(), "crops": data["crops"] and data["crops"].as_dict()}
        self.shared = {"model": model["model"].as_dict(), **views}
        self.options = {
            "seed": self.config["seed_everything"],
            "model": {key: value for key, value in model.as_dict().items() if key != "model"},
            "data": {key: value for key, value in data.as_dict().items() if key not in _FREE},
        }
        first: Stage = "resampler" if model["loss"]["kind"] == "none" else "vision"
        self.plan = plan_stage(
            self.run, self._stage.name, self.shared, self.options, first=first, fresh=self._stage.fresh
        )

    def _require_checkpoints(self) -> None:
        """The next stage begins with the best checkpoint of this one, so there has to be one."""
        for option, without in _WITHOUT_CHECKPOINT.items():
            section, name = option.split(".")
            value = self.config[section][name]
            if value is not None and value == without:
                fail("train", option, "set so that held-out values choose a checkpoint", value)

    def instantiate_classes(self) -> None:
        """Build trainer, networks and data, unless there is nothing to do."""
        if self.plan.action != "done":
            super().instantiate_classes()


def run_stage(stage: Stage | None, arguments: Sequence[str], *, fresh: bool = False) -> TrainingRun:
    """Train one stage, resume it, or report it when it is complete.

    Args:
        stage: which one; None for the first.
        arguments: the rest of the command line.
        fresh: train it again from its beginning; what is there is put aside (`runs.begin_stage`).
    """
    cli = PanoramaCLI(_Stage(stage or "vision", stage is not None, fresh, list(arguments)))
    if cli.plan.action == "done":
        return _read_summary(cli.folder)
    cli.datamodule.setup("fit")  # an error in the data leaves no files behind
    if cli.trainer.is_global_zero:
        begin_stage(cli.run, cli.model.stage, cli.shared, cli.options, fresh=fresh)
    if cli.plan.start_from is not None:
        load_weights(cli.model.model, cli.plan.start_from)
    cli.tune()
    before = dict(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
    start = time.perf_counter()
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=cli.plan.resume_from)
    seconds = time.perf_counter() - start
    after = dict(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
    held_out = list(dict.fromkeys(path.name for path in cli.datamodule.val_set.paths))
    num_training = len(cli.datamodule.train_set.paths)
    run = TrainingRun(cli.model.stage, before, after, held_out, num_training, seconds, cli.folder)
    if cli.trainer.is_global_zero:
        _write_summary(run)
        complete_stage(cli.run, run.stage, _best_checkpoint(cli))
    cli.trainer.strategy.barrier()  # the other processes plan their next stage from these files
    return run


def _best_checkpoint(cli: PanoramaCLI) -> Path:
    callback = cli.trainer.checkpoint_callback
    if not (isinstance(callback, ModelCheckpoint) and callback.best_model_path):
        fail("train", "trainer", "one that writes a checkpoint", "none", "Validate at least once.")
    return Path(callback.best_model_path)


def _write_summary(run: TrainingRun) -> None:
    values = {name: value for name, value in vars(run).items() if name not in ("folder", "skipped")}
    write_text(run.folder / "summary.json", json.dumps(values, indent=2) + "\n")


def _read_summary(folder: Path) -> TrainingRun:
    return TrainingRun(**json.loads((folder / "summary.json").read_text()), folder=folder, skipped=True)
