"""`refkp train panorama`: one stage of training, with held-out values before and after."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

_PRESETS = "refkp.systems.panorama.configs"

#: Values reported before and after training, and how they are called on paper.
REPORTED = {
    "val/tokens/retrieval": "overlap retrieval accuracy, tokens",
    "val/projected/retrieval": "overlap retrieval accuracy, head",
    "val/tokens/retrieval_elsewhere": "the same in another panorama, tokens",
    "val/projected/retrieval_elsewhere": "the same in another panorama, head",
    "val/chance": "chance",
    "val/tokens/effective_rank": "effective rank, tokens",
    "val/projected/effective_rank": "effective rank, head",
    "val/tokens/std": "feature std, tokens",
    "val/projected/std": "feature std, head",
    "val/total": "loss",
}


class TrainingRun(NamedTuple):
    """A finished training run: held-out values before and after, and where everything lies."""

    before: dict[str, float]
    after: dict[str, float]
    held_out: list[str]  # file names
    num_training: int
    seconds: float  # of the training alone
    folder: Path


def run_training(argv: list[str]) -> TrainingRun:
    """Train the vision stage as `refkp train panorama` does; writes summary.json beside the checkpoints."""
    from refkp.systems.panorama.data import PanoramaData
    from refkp.systems.panorama.module import VisionModule
    from refkp.training.cli import TrainingCLI, resolve_arguments

    cli = TrainingCLI(
        VisionModule,
        PanoramaData,
        resolve_arguments(argv, _PRESETS),
        monitor="val/tokens/retrieval",
        links={"model.model.encoder.image_size": "data.view_size"},
    )
    before = dict(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
    start = time.perf_counter()
    cli.trainer.fit(cli.model, cli.datamodule)
    seconds = time.perf_counter() - start
    after = dict(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
    folder = Path(cli.trainer.log_dir or cli.trainer.default_root_dir)
    summary = {"before": before, "after": after, "seconds": seconds}
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    held_out = [path.name for path in cli.datamodule.val_set.paths]
    return TrainingRun(before, after, held_out, len(cli.datamodule.train_set.paths), seconds, folder)


def train(argv: list[str]) -> int:
    """Train the vision stage and report held-out values before and after."""
    run = run_training(argv)
    print(f"{'held out':38} {'before':>10} {'after':>10}")
    for key, title in REPORTED.items():
        if key in run.before:
            print(f"{title:38} {run.before[key]:10.4f} {run.after[key]:10.4f}")
    print(
        f"{run.seconds:.0f} s of training; configuration, checkpoints, logs and summary.json in {run.folder}"
    )
    return 0
