"""A training run from the command line: presets, short options, typed configuration saved with the run.

Built on LightningCLI: `--help` lists every option, a YAML key that does not exist is an error, and the
resolved configuration lies beside the checkpoints as `config.yaml`.
"""

from __future__ import annotations

import importlib.resources
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refkp._checks import fail
from refkp._extras import named_extras

with named_extras():
    import lightning as L
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.tuner import Tuner

#: Short option -> the option it stands for.
SHORT_OPTIONS = {"--data": "--data.source", "--out": "--trainer.default_root_dir"}


class TrainingCLI(LightningCLI):
    """LightningCLI that only builds the objects; the caller decides what to run.

    Checkpoints: the best `--checkpoint.save_top_k` by the monitored value, and the last. `--patience N` stops
    after N validations without a better value. `--auto_batch` lets `tune` search the largest batch.

    Args:
        module_class, data_class: the system's LightningModule and LightningDataModule.
        argv: the command line, with presets and short options resolved.
        prog: the command, for messages.
        description: what `--help` begins with.
        monitor: logged value that picks the best checkpoint, and "max" or "min".
        links: option -> options that take its value.
    """

    def __init__(
        self,
        module_class: type[L.LightningModule],
        data_class: type[L.LightningDataModule],
        argv: Sequence[str],
        *,
        prog: str,
        description: str,
        monitor: tuple[str, str],
        links: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._monitor, self._links = monitor, links or {}
        super().__init__(
            module_class,
            data_class,
            args=list(argv),
            run=False,
            parser_kwargs={"prog": prog, "usage": "%(prog)s [options]", "description": description},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            trainer_defaults={"default_root_dir": "runs", "gradient_clip_val": 1.0, "log_every_n_steps": 10},
            save_config_kwargs={"overwrite": True},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Checkpoints, early stopping, batch search, and the links between options."""
        name, mode = self._monitor
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.monitor": name,
                "checkpoint.mode": mode,
                "checkpoint.save_top_k": 3,
                "checkpoint.save_last": True,
            }
        )
        parser.add_argument("--patience", type=int | None, default=None, help="validations without progress")
        parser.add_argument("--auto_batch", action="store_true", help="search the largest batch that fits")
        for source, targets in self._links.items():
            for target in targets:
                parser.link_arguments(source, target)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse `args`, without Lightning's warning that a command line exists beside them."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().parse_arguments(parser, args)

    def instantiate_trainer(self, **options: Any) -> L.Trainer:
        """A trainer that logs to TensorBoard in `log_folder`, or as told."""
        settings = self._get(self.config_init, "trainer", default={})
        if settings.get("logger") is None:
            save_dir, name, version = self.log_folder(settings["default_root_dir"])
            options["logger"] = TensorBoardLogger(save_dir, name=name, version=version)
        patience = self._get(self.config_init, "patience")
        if patience is not None:
            name, mode = self._monitor
            options["callbacks"] = [EarlyStopping(name, mode=mode, patience=patience)]
        return super().instantiate_trainer(**options)

    def log_folder(self, root: str) -> tuple[str, str, str | None]:
        """(folder, name, version) of the log; by default numbered runs under `root`."""
        return root, "", None

    def tune(self) -> None:
        """With `--auto_batch`, set the batch size of the data to the largest that fits into memory.

        Trains three steps at each size and restores the weights; never more than the training set holds.
        """
        if self._get(self.config_init, "auto_batch"):
            Tuner(self.trainer).scale_batch_size(self.model, datamodule=self.datamodule, mode="binsearch")


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
