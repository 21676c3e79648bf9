"""`refkp train pose`: training with held-out values before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from refkp._extras import named_extras

if TYPE_CHECKING:
    from refkp.systems.pose.training.trainer import TrainingRun

#: Values reported before and after training, and how they are called on paper.
REPORTED = {
    "val/acc_seen": "patch accuracy, seen",
    "val/acc_unseen": "patch accuracy, unseen",
    "val/acc_overall": "patch accuracy, all",
    "val/flow_mae": "flow error, patches",
    "val/rotation_error_deg": "mean rotation error, degrees",
    "val/pose_below_10deg": "poses below 10 degrees",
    "val/loss_total": "loss",
}


def train(argv: list[str]) -> int:
    """Train the pose model, and report held-out values before and after."""
    with named_extras():
        from lightning.pytorch.utilities import rank_zero_only

    from refkp.systems.pose.training.trainer import run_training

    rank_zero_only(_report)(run_training(argv))  # once, however many processes train
    return 0


def _report(run: TrainingRun) -> None:
    print(f"{'held out':34} {'before':>10} {'after':>10}")
    for key, title in REPORTED.items():
        if key in run.before:
            print(f"{title:34} {run.before[key]:10.4f} {run.after[key]:10.4f}")
    print(f"patch accuracy by chance: {1 / (run.num_patches + 1):.4f}")
    print(
        f"{run.seconds:.0f} s of training on {run.num_training} samples, {run.num_held_out} held out; "
        f"configuration, checkpoints, logs and summary.json in {run.folder}"
    )
