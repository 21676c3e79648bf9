"""The model of a trained run, built again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from refkp.systems.pose.model.spec import VpogSpec
from refkp.systems.pose.model.vpog import Vpog
from refkp.training.checkpoint import read_checkpoint
from refkp.training.config import from_plain
from refkp.training.stages import run_checkpoint


def load_run(run: str | Path) -> Vpog:
    """The trained model of a run, in evaluation mode.

    Args:
        run: the folder of a complete run, or a checkpoint file.

    Raises:
        ValueError: the run is not complete, or the checkpoint was not written by a pose training.
    """
    checkpoint = read_checkpoint(run_checkpoint(run, "pose", ("train",)), "pose")
    spec = from_plain(VpogSpec, checkpoint.specs["model"])
    # The weights of the run replace those that its encoder began with, whose file need not be here.
    model = Vpog(replace(spec, encoder=replace(spec.encoder, checkpoint=None)))
    model.load_state_dict(checkpoint.weights())
    return model.eval()
