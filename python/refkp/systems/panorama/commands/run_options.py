"""The options of commands that use a trained run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from refkp.commands import add_device, add_run, chosen_device, require_counts
from refkp.systems.panorama.model.generation import GenerationSpec
from refkp.systems.panorama.stages import Stage

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.panorama.training.runs import LoadedRun


def add_run_options(parser: ArgumentParser) -> None:
    """Which run, on which device, and how it answers."""
    add_run(parser, "panorama")
    parser.add_argument("--stage", type=Stage | None, default=None, help="default: the last complete one")
    parser.add_argument("--batch_size", type=int, default=4, help="panoramas at once")
    add_device(parser)
    parser.add_argument(
        "--generation", type=GenerationSpec, default=GenerationSpec(), help="choice of tokens"
    )


def loaded_run(command: str, options: Any) -> LoadedRun:
    """The run that the options name, on their device."""
    require_counts(command, options, "batch_size")
    device = chosen_device(options.device)

    from refkp.systems.panorama.training.runs import load_run

    run = load_run(options.run, options.stage)
    run.model.to(device)
    return run
