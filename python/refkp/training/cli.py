"""The command line of a training: presets, short options, typed configuration saved with the run.

Built on LightningCLI: `--help` lists every option, a YAML key that does not exist is an error, and the
resolved configuration lies beside the checkpoints as `config.yaml`.
"""

from __future__ import annotations

import argparse
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.commands import help_formatter
from refkp.training.console import ProgressLine
from refkp.training.data import SystemData
from refkp.training.keeping import ModelCheckpoints, WholeCheckpoints
from refkp.training.module import SystemModule
from refkp.training.precision import Precision, chosen_precision
from refkp.training.safeguard import Safeguard
from refkp.training.stages import RunFolder, Stage

with named_extras():
    import lightning as L
    from lightning.pytorch.callbacks import EarlyStopping
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.tuner import Tuner
    from lightning.pytorch.utilities import rank_zero_only

#: Short option -> the option it stands for.
SHORT_OPTIONS = {
    "--data": "--data.source",
    "--out": "--trainer.default_root_dir",
    "--seed": "--seed_everything",
    "--workers": "--data.num_workers",
}

#: Options of the trainer that decide what is learned; the others say where and how it is shown.
_DECISIVE = (
    *("max_epochs", "max_steps", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"),
    *("limit_train_batches", "limit_val_batches", "overfit_batches"),
    *("check_val_every_n_epoch", "val_check_interval", "max_time"),
)

#: The other options that do.
_DECISIVE_OURS = ("seed_everything", "precision", "patience", "auto_batch", "model", "data")

#: Options of the trainer that are decided by options of ours, or would leave a run without its checkpoints.
_OURS = {"accelerator", "precision", "enable_checkpointing", "fast_dev_run", "barebones", "model_registry"}

#: Options -> the value with which a stage would end without a checkpoint.
_WITHOUT_CHECKPOINT = {
    "trainer.limit_val_batches": 0,
    "checkpoint.save_top_k": 0,
}


@dataclass(frozen=True)
class SystemTraining:
    """What training has to know of a system.

    Args:
        name: as in `refkp train NAME`.
        description: what `--help` begins with.
        module, data: its Lightning classes.
        presets: the package of its YAML files.
        stages: in order; the only one of a system with one stage is called "train".
        reported: held-out value -> how it is called on paper, for the report.
        links: option -> options that take its value.
        shared: dotted options in which all stages of a run must agree.
        free: dotted options with which an interrupted stage may go on changed.
        skipped: options that make the run begin after its first stage, as (dotted option, value).
    """

    name: str
    description: str
    module: type[SystemModule]
    data: type[SystemData]
    presets: str
    stages: tuple[Stage, ...]
    reported: Mapping[str, str]
    links: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    free: tuple[str, ...] = ("data.num_workers", "data.prefetch")
    skipped: tuple[str, Any] | None = None

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of the stages."""
        return tuple(stage.name for stage in self.stages)


class Request(NamedTuple):
    """What of the command line is read before the configuration."""

    stages: tuple[Stage, ...]  # to be trained, in order
    is_named: bool  # by `--stage`, not by default
    fresh: bool
    arguments: list[str]  # the rest


def read_request(system: SystemTraining, argv: Sequence[str]) -> Request:
    """Which stages a command line asks for: one, the first by default, or `--stage all`."""
    parser = argparse.ArgumentParser(prog=f"refkp train {system.name}", add_help=False, allow_abbrev=False)
    parser.add_argument("--fresh", action="store_true")
    if len(system.stages) == 1:
        options, rest = parser.parse_known_args(argv)
        return Request(system.stages, False, options.fresh, rest)
    parser.add_argument("--stage", choices=(*system.stage_names, "all"))
    options, rest = parser.parse_known_args(argv)
    chosen = options.stage or system.stage_names[0]
    stages = tuple(stage for stage in system.stages if chosen in ("all", stage.name))
    return Request(stages, options.stage is not None, options.fresh, rest)


class TrainingCLI(LightningCLI):
    """The command line of one stage: plans it, and builds trainer, networks and data unless it is complete.

    Args:
        system: what is trained.
        stage: of it.
        request: the command line, `--stage all` and `--fresh` read.
    """

    def __init__(self, system: SystemTraining, stage: Stage, request: Request) -> None:
        self.system, self.stage, self.fresh = system, stage, request.fresh
        arguments = [*request.arguments, *([f"--stage={stage.name}"] if request.is_named else [])]
        super().__init__(
            system.module,
            system.data,
            args=resolve_arguments(arguments, system.presets, stage.name),
            run=False,
            save_config_callback=None,  # written whole, and only where the stage is begun
            parser_kwargs={
                "prog": f"refkp train {system.name}",
                "usage": "%(prog)s [options]",
                "description": system.description,
                "formatter_class": help_formatter(),
            },
            seed_everything_default=0,
            auto_configure_optimizers=False,
            trainer_defaults={
                "default_root_dir": "runs",
                "gradient_clip_val": 1.0,
                "log_every_n_steps": 10,
                "num_sanity_val_steps": 0,  # the held-out values before training are no less
                "enable_model_summary": False,
            },
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Trainer, module and data, without the options of the trainer that ours stand for."""
        parser.add_class_arguments(
            L.Trainer, "trainer", skip=_OURS, instantiate=False, fail_untyped=False, sub_configs=True
        )
        parser.set_defaults({f"trainer.{name}": value for name, value in self.trainer_defaults.items()})
        parser.add_lightning_class_args(self.system.module, "model")
        parser.add_lightning_class_args(self.system.data, "data")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Stage, device, precision, checkpoints, early stopping, batch search, and the links between options."""
        add = parser.add_argument
        if len(self.system.stages) > 1:
            names = Literal[self.system.stage_names]  # type: ignore[name-defined]
            add("--stage", type=names, default=self.system.stage_names[0], help="which, or `all` in order")
        add("--fresh", action="store_true", help="train from the beginning; what is there is put aside")
        add(
            "--device",
            type=Literal["auto", "cpu", "cuda"],
            default="auto",
            help="auto: CUDA where there is a GPU",
        )
        add(
            "--precision",
            type=Precision,
            default="auto",
            help="auto: bf16-mixed where the device computes in it",
        )
        add("--save_every_minutes", type=float, default=10.0, help="between two checkpoints to go on from")
        add("--patience", type=int | None, default=None, help="validations without progress before it stops")
        add("--auto_batch", action="store_true", help="search the largest batch that fits")
        parser.add_lightning_class_args(ModelCheckpoints, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": self.stage.monitor,
                "checkpoint.mode": self.stage.mode,
                "checkpoint.save_top_k": 3,
                # A run that goes on after a `kill -9` writes the same ones again.
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.link_arguments(
            "trainer.default_root_dir",
            "checkpoint.dirpath",
            lambda root: str(Path(root) / self.stage.name / "checkpoints"),
        )
        parser.link_arguments("seed_everything", "data.seed", _seed)
        for source, targets in self.system.links.items():
            for target in targets:
                parser.link_arguments(source, target)

    def before_instantiate_classes(self) -> None:
        """Plan the stage from the resolved configuration."""
        system, stage = self.system, self.stage.name
        if self.config.get("stage", stage) != stage:
            remedy = f"Add `--stage {self.config['stage']}`."
            fail("train", "stage", "given on the command line", "one in a configuration file alone", remedy)
        if self.config["fresh"] and not self.fresh:  # `--stage all` takes it for the first stage alone
            fail(
                "train",
                "fresh",
                "given on the command line",
                "true in a configuration file",
                "Add `--fresh`.",
            )
        _require_checkpoints(self.config)
        self.device = _device(self.config["device"])
        self.run = RunFolder(self.config["trainer"]["default_root_dir"], system.name)
        self.folder = self.run.stage(stage)
        self.decisive = _decisive(self.config, system)
        self.plan = self.run.plan(stage, self.stages(), self.decisive, shared=system.shared, fresh=self.fresh)
        if self.plan.action == "train":
            self.resolved = {"precision": chosen_precision(self.config["precision"], self.device)}
        else:
            self.resolved = self.run.state.begun[stage].resolved

    @property
    def speaks(self) -> bool:
        """Whether this process writes and prints; the others of a distributed run only compute."""
        return getattr(rank_zero_only, "rank", 0) == 0

    def stages(self) -> tuple[str, ...]:
        """The stages of this run, without the first where the run begins after it."""
        names = self.system.stage_names
        if self.system.skipped is None:
            return names
        option, value = self.system.skipped
        return names[1:] if self.config[option] == value and self.stage.name != names[0] else names

    def instantiate_classes(self) -> None:
        """Build trainer, networks and data, unless there is nothing to do."""
        if self.plan.action != "report":
            super().instantiate_classes()

    def instantiate_trainer(self, **options: Any) -> L.Trainer:
        """A trainer that logs to the folder of the stage, shows one line, and can be interrupted."""
        settings = self._get(self.config_init, "trainer", default={})
        options |= {
            "accelerator": "gpu" if self.device.type == "cuda" else "cpu",
            "precision": self.resolved["precision"],
            "enable_progress_bar": False,  # ours is in its place
            "callbacks": list(settings.get("callbacks") or []),
            "plugins": [*(settings.get("plugins") or []), WholeCheckpoints()],
        }
        if settings.get("logger") is None:
            options["logger"] = TensorBoardLogger(
                str(self.run.path), name=self.stage.name, version="", default_hp_metric=False
            )
        if settings.get("enable_progress_bar") is not False:
            options["callbacks"] += [ProgressLine(self.stage.monitor)]
        patience = self._get(self.config_init, "patience")
        if patience is not None:
            stop = EarlyStopping(self.stage.monitor, mode=self.stage.mode, patience=patience)
            options["callbacks"] += [stop]
        trainer = super().instantiate_trainer(**options)
        minutes = self._get(self.config_init, "save_every_minutes")
        # Last, so that what it writes knows of the best checkpoint of this step.
        trainer.callbacks.append(Safeguard(self.run.last(self.stage.name), minutes))  # type: ignore[attr-defined]
        return trainer


def _decisive(config: Any, system: SystemTraining) -> dict[str, Any]:
    """The options that decide the result of a stage, as plain values."""
    values = config.as_dict()
    chosen = {name: values[name] for name in _DECISIVE_OURS}
    chosen["trainer"] = {name: values["trainer"][name] for name in _DECISIVE}
    chosen["checkpoint"] = {name: values["checkpoint"][name] for name in ("monitor", "mode")}
    for option in system.free:
        *groups, name = option.split(".")
        section = chosen
        for group in groups:
            section = section[group]
        section.pop(name, None)
    return chosen


def _seed(seed: bool | int) -> int:
    if isinstance(seed, bool):
        remedy = "A run that goes on has to draw the same numbers."
        fail("train", "seed", "a number", seed, remedy)
    if not 0 <= seed < 2**32:
        fail("train", "seed", "in [0,2^32)", seed)
    return seed


def _device(option: str) -> torch.device:
    available = torch.cuda.is_available()
    if option == "cuda" and not available:
        remedy = "Use --device cpu or auto."
        fail("train", "device", "one that torch can use here", "'cuda' without a GPU", remedy)
    return torch.device("cuda" if available and option != "cpu" else "cpu")


def _require_checkpoints(config: Any) -> None:
    """What comes after a stage begins with its best checkpoint, so there has to be one."""
    for option, without in _WITHOUT_CHECKPOINT.items():
        section, name = option.split(".")
        value = config[section][name]
        if value is not None and value == without:
            fail("train", option, "set so that held-out values choose a checkpoint", value)
    if config["checkpoint"]["save_last"]:
        remedy = "last.ckpt is written anyway, where going on from it is exact: see --save_every_minutes."
        fail("train", "checkpoint.save_last", "left out", True, remedy)
    for name, least in (("save_every_minutes", 0), ("patience", 1)):
        if config[name] is not None and config[name] < least:
            fail("train", name, f"at least {least}", config[name])


def largest_batch(cli: TrainingCLI) -> int:
    """The largest batch size that fits into memory, never more than the training set holds.

    Trains three steps at each size and restores the weights.
    """
    Tuner(cli.trainer).scale_batch_size(cli.model, datamodule=cli.datamodule, mode="binsearch")
    return int(cli.datamodule.batch_size)


def resolve_arguments(argv: Sequence[str], presets: str, overlay: str | None = None) -> list[str]:
    """Write out presets and short options.

    `--config NAME` becomes the path of NAME.yaml in the package `presets`, followed by NAME.OVERLAY.yaml where
    there is one; a path to a file stays as it is.
    """
    resolved: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name == "--config":
            value = value if equals else next(arguments, "")
            resolved += [f"--config={path}" for path in preset_paths(value, presets, overlay)]
        else:
            resolved.append(SHORT_OPTIONS.get(name, name) + equals + value)
    return resolved


def preset_paths(name: str, presets: str, overlay: str | None = None) -> list[str]:
    """The files of a preset of the package `presets`, or the YAML file `name` itself."""
    if Path(name).suffix in (".yaml", ".yml"):
        return [name]
    folder = importlib.resources.files(presets)
    stems = {item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")}
    known = sorted(stem for stem in stems if "." not in stem)
    if name not in known:
        fail("preset_paths", "config", f"one of {', '.join(known)}, or a YAML file", repr(name))
    chosen = [stem for stem in (name, f"{name}.{overlay}") if stem in stems]
    return [str(folder / f"{stem}.yaml") for stem in chosen]
