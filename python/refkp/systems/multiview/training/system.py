"""How the multi-view system is trained: one stage, and what of the command line belongs together."""

from __future__ import annotations

from collections.abc import Sequence

from refkp.systems.multiview.data.datamodule import MultiviewData
from refkp.systems.multiview.training.module import MultiviewModule
from refkp.training.cli import SystemTraining
from refkp.training.run import TrainingRun, train
from refkp.training.stages import Stage

MULTIVIEW = SystemTraining(
    name="multiview",
    description=(
        "Train the multi-view model on a file of samples. The same command goes on with an interrupted run and "
        "reports a complete one. `--config` takes tiny, base or a YAML file; `--data`, `--out`, `--seed` and "
        "`--workers` are short for --data.source, --trainer.default_root_dir, --seed_everything and "
        "--data.num_workers."
    ),
    module=MultiviewModule,
    data=MultiviewData,
    presets="refkp.systems.multiview.training.configs",
    stages=(Stage("train", "val/mpjpe_mm", "min"),),
    reported={
        "val/mpjpe_mm": "MPJPE, mm",
        "val/pa_mpjpe_mm": "PA-MPJPE, mm",
        "val/pck": "joints within 5 % of the picture",
        "val/camera_deg": "angle of cameras, degrees",
        "val/camera_centre_mm": "place of cameras, mm",
        "val/calibrated/mpjpe_mm": "MPJPE, cameras given, mm",
        "val/calibrated/pa_mpjpe_mm": "PA-MPJPE, cameras given, mm",
        "val/total": "loss",
    },
    links={"data.body": ("model.body",)},
    free=("data.num_workers", "data.prefetch"),
)


def run_training(argv: Sequence[str], *, reports: bool = True) -> TrainingRun:
    """Train as `refkp train multiview ARGV` does."""
    return train(MULTIVIEW, argv, reports=reports)[-1]
