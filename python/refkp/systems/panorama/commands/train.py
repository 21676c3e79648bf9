"""`refkp train panorama`: one stage of training, or all, with held-out values before and after."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refkp.systems.panorama.training.trainer import TrainingRun

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
    "val/caption": "caption loss",
    "val/total": "loss",
}


def run_training(argv: list[str]) -> TrainingRun:
    """Train as `refkp train panorama` does; returns the last stage that was asked for.

    Two options are read here: `--stage vision|resampler|finetune|all` (default vision) and `--fresh`, which
    trains what is complete already again. All others are those of the stage.
    """
    return _run(argv)[-1]


def train(argv: list[str]) -> int:
    """Train one stage, or with `--stage all` each in turn, and report held-out values before and after."""
    for run in _run(argv):
        print(f"{f'{run.stage}: held out':38} {'before':>10} {'after':>10}")
        for key, title in REPORTED.items():
            if key in run.before:
                print(f"{title:38} {run.before[key]:10.4f} {run.after[key]:10.4f}")
        files = f"configuration, checkpoints, logs and summary.json in {run.folder}"
        if run.skipped:
            print(f"{run.stage} was complete and is left as it is (--fresh trains it again); {files}")
        else:
            print(f"{run.seconds:.0f} s of training; {files}")
    return 0


def _run(argv: list[str]) -> list[TrainingRun]:
    from refkp.systems.panorama.model.stages import STAGES
    from refkp.systems.panorama.training.trainer import run_stage

    parser = argparse.ArgumentParser(prog="refkp train panorama", add_help=False, allow_abbrev=False)
    parser.add_argument("--stage", choices=(*STAGES, "all"))
    parser.add_argument("--fresh", action="store_true")
    options, rest = parser.parse_known_args(argv)
    if options.stage != "all":
        return [run_stage(options.stage, rest, fresh=options.fresh)]
    # Training a stage afresh puts the later ones aside, so only the first needs to be told.
    return [run_stage(stage, rest, fresh=options.fresh and stage == STAGES[0]) for stage in STAGES]
