"""A training run from the command line: presets, short options, typed configuration saved with the run.

Built on LightningCLI: `--help` lists every option, a YAML key that does not exist is an error, and the
resolved configuration lies beside the checkpoints as `config.yaml`.
"""

from __future__ import annotations

import importlib.resources
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from refkp._checks import fail
from refkp._extras import named_extras

with named_extras():
    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.loggers import TensorBoardLogger

#: Short option -> the option it stands for.
SHORT_OPTIONS = {"--data": "--data.source", "--out": "--trainer.default_root_dir"}


class TrainingCLI(LightningCLI):
    """LightningCLI that only builds the objects; the caller decides what to run.

    Args:
        module_class, data_class: the system's LightningModule and LightningDataModule.
        argv: the command line, with presets and short options resolved.
        monitor: logged value that picks the best checkpoint, larger is better.
        links: option -> option that takes its value.
    """

    def __init__(
        self,
        module_class: type[L.LightningModule],
        data_class: type[L.LightningDataModule],
        argv: Sequence[str],
        *,
        monitor: str,
        links: dict[str, str] | None = None,
    ) -> None:
        self._links = links or {}
        super().__init__(
            module_class,
            data_class,
            args=list(argv),
            run=False,
            seed_everything_default=0,
            trainer_defaults={
                "default_root_dir": "runs",
                "gradient_clip_val": 1.0,
                "log_every_n_steps": 10,
                "callbacks": [ModelCheckpoint(monitor=monitor, mode="max", save_last=True)],
            },
            save_config_kwargs={"overwrite": True},
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The links between options."""
        for source, target in self._links.items():
            parser.link_arguments(source, target)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse `args`, without Lightning's warning that a command line exists beside them."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super().parse_arguments(parser, args)

    def instantiate_trainer(self, **options: Any) -> L.Trainer:
        """A trainer that logs numbered runs under `default_root_dir` to TensorBoard, or as told."""
        settings = self._get(self.config_init, "trainer", default={})
        if settings.get("logger") is None:
            options["logger"] = TensorBoardLogger(settings["default_root_dir"], name="")
        return super().instantiate_trainer(**options)


def resolve_arguments(argv: Sequence[str], presets: str) -> list[str]:
    """Write out presets and short options.

    `--config NAME` becomes the path of NAME.yaml in the package `presets`; a path to a file stays as it is.
    """
    resolved: list[str] = []
    for argument in argv:
        name, equals, value = argument.partition("=")
        if resolved[-1:] == ["--config"]:
            resolved.append(preset_path(argument, presets))
        elif name == "--config" and equals:
            resolved.append(f"--config={preset_path(value, presets)}")
        else:
            resolved.append(SHORT_OPTIONS.get(name, name) + equals + value)
    return resolved


def preset_path(name: str, presets: str) -> str:
    """The file of a preset of the package `presets`, or the YAML file `name` itself."""
    if Path(name).suffix in (".yaml", ".yml"):
        return name
    folder = importlib.resources.files(presets)
    known = sorted(
        item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")
    )
    if name not in known:
        fail("preset_path", "config", f"one of {', '.join(known)}, or a YAML file", repr(name))
    return str(folder / f"{name}.yaml")
