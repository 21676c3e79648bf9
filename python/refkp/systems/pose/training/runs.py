"""Loading what a training run left behind.

RUN/config.yaml      the resolved configuration
RUN/checkpoints/     the best by held-out loss, and last.ckpt
RUN/summary.json     held-out values before and after, and which checkpoint is the best
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from refkp._checks import fail
from refkp.systems.pose.model.spec import VpogSpec
from refkp.systems.pose.model.vpog import Vpog
from refkp.training.config import from_plain

SUMMARY = "summary.json"


def load_run(run: str | Path) -> Vpog:
    """The trained model of a run, in evaluation mode.

    Args:
        run: the folder of a complete run, or a checkpoint file.

    Raises:
        ValueError: the run is not complete, or the checkpoint was not written by a pose training.
    """
    saved = _read(Path(run) if Path(run).is_file() else _best_checkpoint(Path(run)))
    spec = from_plain(VpogSpec, saved["pose"]["model"])
    # The weights of the run replace those that its encoder began with, whose file need not be here.
    model = Vpog(replace(spec, encoder=replace(spec.encoder, checkpoint=None)))
    weights = saved["state_dict"].items()
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in weights if name.startswith("model.")}
    )
    return model.eval()


def _best_checkpoint(run: Path) -> Path:
    summary = run / SUMMARY
    if not summary.exists():
        remedy = "Finish it, or name a file in its folder checkpoints/."
        fail("load_run", "run", f"a complete run, with {SUMMARY}", repr(str(run)), remedy)
    return run / str(json.loads(summary.read_text())["checkpoint"])


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, IndexError):  # whatever a file of another kind leads to
        saved = {}
    if not isinstance(saved, dict) or "pose" not in saved:
        fail("load_run", "run", "a whole checkpoint of `refkp train pose`", repr(str(checkpoint)))
    return saved
