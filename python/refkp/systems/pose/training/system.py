"""How the pose system is trained: one stage, and what of the command line belongs together. Source: spec pose 5."""

from __future__ import annotations

from collections.abc import Sequence

from refkp.systems.pose.data.datamodule import PoseData
from refkp.systems.pose.training.module import PoseModule
from refkp.training.cli import SystemTraining
from refkp.training.run import TrainingRun, train
from refkp.training.stages import Stage

POSE = SystemTraining(
    name="pose",
    description=(
        "Train the pose model on pictures of known objects and their templates. The same command goes on with an "
        "interrupted run and reports a complete one. `--config` takes tiny, base, large or a YAML file; `--data`, "
        "`--out`, `--seed` and `--workers` are short for --data.source, --trainer.default_root_dir, "
        "--seed_everything and --data.num_workers."
    ),
    module=PoseModule,
    data=PoseData,
    presets="refkp.systems.pose.training.configs",
    stages=(Stage("train", "val/total", "min"),),
    reported={
        "val/acc_seen": "patch accuracy, seen",
        "val/acc_unseen": "patch accuracy, unseen",
        "val/acc_overall": "patch accuracy, all",
        "val/chance": "patch accuracy by chance",
        "val/flow_mae": "flow error, patches",
        "val/rotation_error_deg": "mean rotation error, degrees",
        "val/pose_below_10deg": "poses below 10 degrees",
        "val/total": "loss",
    },
    # One size of crops and patches in data and networks.
    links={
        "model.model.encoder.image_size": ("data.image_size",),
        "model.model.encoder.patch_size": ("data.patch_size",),
    },
    free=("data.num_workers", "data.prefetch", "data.cache_bytes", "data.index_folder"),
)


def run_training(argv: Sequence[str], *, reports: bool = True) -> TrainingRun:
    """Train as `refkp train pose ARGV` does."""
    return train(POSE, argv, reports=reports)[-1]
