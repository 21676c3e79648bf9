"""How the panorama system is trained: its stages, and what of the command line belongs together.

Source: spec panorama 4.2, 4.3 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence

from refkp.systems.panorama.data.datamodule import PanoramaData
from refkp.systems.panorama.training.module import PanoramaModule
from refkp.training.cli import SystemTraining
from refkp.training.run import TrainingRun, train
from refkp.training.stages import Stage

PANORAMA = SystemTraining(
    name="panorama",
    description=(
        "Train one stage of the panorama model, or with `--stage all` each in turn. The same command goes on with "
        "an interrupted stage and reports a complete one. `--config` takes tiny, base or a YAML file; `--data`, "
        "`--out`, `--seed` and `--workers` are short for --data.source, --trainer.default_root_dir, "
        "--seed_everything and --data.num_workers."
    ),
    module=PanoramaModule,
    data=PanoramaData,
    presets="refkp.systems.panorama.training.configs",
    stages=(
        Stage("vision", "val/tokens/retrieval", "max"),
        Stage("resampler", "val/caption", "min"),
        Stage("finetune", "val/caption", "min"),
    ),
    reported={
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
    },
    # One stage, view size and language model in data and networks.
    links={
        "stage": ("model.stage", "data.stage"),
        "model.model.vision.encoder.image_size": ("data.viewing.view_size",),
        "model.model.language.source": ("data.language",),
    },
    shared=("model.model", "data.viewing"),
    free=("data.num_workers", "data.prefetch", "data.cache"),
    skipped=("model.loss.kind", "none"),
)


def run_training(argv: Sequence[str], *, reports: bool = True) -> TrainingRun:
    """Train as `refkp train panorama ARGV` does; the last stage that it asked for."""
    return train(PANORAMA, argv, reports=reports)[-1]
