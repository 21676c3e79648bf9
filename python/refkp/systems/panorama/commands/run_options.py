"""The options of commands that use a trained run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.panorama.training.runs import LoadedRun


def add_run_options(parser: ArgumentParser) -> None:
    """Which run, on which device, and how it answers."""
    from refkp.systems.panorama.model.generation import GenerationSpec
    from refkp.systems.panorama.model.stages import Stage

    device = str(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    parser.add_argument(
        "--run", type=str, required=True, help="folder of `refkp train panorama`, or a checkpoint"
    )
    parser.add_argument("--stage", type=Stage | None, default=None, help="default: the last complete one")
    parser.add_argument("--batch_size", type=int, default=4, help="panoramas at once")
    parser.add_argument("--device", type=str, default=device, help="where the model runs")
    parser.add_argument(
        "--generation", type=GenerationSpec, default=GenerationSpec(), help="choice of tokens"
    )


def loaded_run(options: Any) -> LoadedRun:
    """The run that the options name, on their device."""
    from refkp.systems.panorama.training.runs import load_run

    run = load_run(options.run, options.stage)
    run.model.to(options.device)
    return run
