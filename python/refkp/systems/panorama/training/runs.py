"""The model of a trained run, built again. Source: spec panorama 5 and 7.19."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from refkp._checks import fail
from refkp.systems.panorama.data.text import TextSpec
from refkp.systems.panorama.data.viewing import Viewing
from refkp.systems.panorama.losses.objective import LossSpec
from refkp.systems.panorama.model.vlm import PanoramaVLM, PanoramaVLMSpec
from refkp.systems.panorama.stages import STAGES, Stage
from refkp.training.checkpoint import Checkpoint, read_checkpoint
from refkp.training.config import from_plain
from refkp.training.stages import run_checkpoint


class LoadedRun(NamedTuple):
    """A trained model, and what it was trained with."""

    model: PanoramaVLM  # in evaluation mode
    stage: Stage
    viewing: Viewing
    text: TextSpec
    loss: LossSpec
    checkpoint: Path


def load_run(run: str | Path, stage: Stage | None = None) -> LoadedRun:
    """The model of a run, from its folder or from one checkpoint.

    Args:
        run: the folder of the run, or a checkpoint file.
        stage: which stage; None takes the last complete one.

    Raises:
        ValueError: the stage is not complete, or the checkpoint was not written by a panorama training.
    """
    checkpoint = read_checkpoint(run_checkpoint(run, "panorama", STAGES, stage), "panorama")
    specs = checkpoint.specs
    network = from_plain(PanoramaVLMSpec, specs["model"])
    model = PanoramaVLM(network, with_language=specs["stage"] != "vision")
    load_weights(model, checkpoint)
    return LoadedRun(
        model.eval(),
        specs["stage"],
        from_plain(Viewing, specs["data"]["viewing"]),
        from_plain(TextSpec, specs["data"]["text"]),
        from_plain(LossSpec, specs["loss"]),
        checkpoint.path,
    )


def load_weights(model: PanoramaVLM, checkpoint: Checkpoint) -> None:
    """Copy the weights of a checkpoint of the same or an earlier stage into `model`.

    A vision checkpoint has no projector and no language model; nothing else may be missing.
    """
    missing, unexpected = model.load_state_dict(checkpoint.weights(), strict=False)
    new_parts = ("projector.", "language.") if checkpoint.specs["stage"] == "vision" else ()
    wrong = [*unexpected, *(name for name in missing if not name.startswith(new_parts))]
    if wrong:
        got = f"{len(wrong)} other weights in {checkpoint.path}: {wrong[:3]}"
        fail("load_weights", "checkpoint", "of the networks that are to be loaded", got)
