"""Train the tiny pose model with each position code on the same samples, and judge all on the same held-out pictures.

    refkp pose generate --out DATA --scenes 1000 --objects 6 --templates_level 1
    refkp pose generate --out SEEN --scenes 60 --meshes DATA/models/*.obj --unit mm --templates_level 1 --seed 1
    refkp pose generate --out UNSEEN --scenes 60 --objects 6 --templates_level 1 --seed 2
    python scripts/compare_position_codes.py --data DATA --seen SEEN --unseen UNSEEN --steps 600 --out codes

Runs that are there are not trained again. What follows the options is passed to every training, such as
`--data.batch_size 8`. A pose is found where one is given at all; its error counts the object's symmetries.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch

from refkp._files import write_json
from refkp.commands import table
from refkp.systems.pose.data.datamodule import open_dataset
from refkp.systems.pose.data.dataset import SampleSpec
from refkp.systems.pose.inference.evaluation import estimate_dataset, object_models
from refkp.systems.pose.metrics.evaluation import evaluate_estimates
from refkp.systems.pose.metrics.spec import EvaluationSpec
from refkp.systems.pose.model.spec import Position
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.training.runs import load_run
from refkp.systems.pose.training.system import run_training

#: A pose is good below this, in degrees.
GOOD_DEG = 20.0


class Scores(NamedTuple):
    """What a model reaches on the pictures of one folder."""

    num_targets: int
    patch_accuracy: float  # of patches that the nearest templates see
    chance: float
    found: float  # share of the targets with a pose
    good: float  # share of the targets with a pose below `GOOD_DEG`
    median_deg: float | None  # rotation error of the poses that are given; None without any


class Row(NamedTuple):
    """One training."""

    code: str
    seed: int
    train_seconds: float
    seen: Scores
    unseen: Scores


def main(arguments: Sequence[str] | None = None) -> int:
    options, training = _parser().parse_known_args(arguments)
    work = list(itertools.product(options.codes, options.seeds))
    compared = partial(compared_row, options=options, training=training)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(compared, work))
    write_json(
        options.out / "position_codes.json", {"steps": options.steps, "rows": [_plain(row) for row in rows]}
    )
    print(table(*_cells(rows)))
    print(f"position_codes.json and the runs in {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="to train on")
    add("--seen", type=Path, required=True, help="other pictures of the same objects")
    add("--unseen", type=Path, required=True, help="pictures of other objects")
    add("--out", type=Path, required=True, help="the runs and position_codes.json")
    add("--steps", type=int, default=600, help="of each training")
    add("--codes", nargs="+", choices=get_args(Position), default=list(get_args(Position)))
    add("--seeds", nargs="+", type=int, default=[0])
    add("--limit", type=int, default=40, help="pictures of each folder to judge")
    add("--jobs", type=int, default=2, help="trainings at a time, each on one core")
    return parser


def compared_row(work: tuple[str, int], options: argparse.Namespace, training: Sequence[str]) -> Row:
    """Train one code from one seed, and judge it."""
    code, seed = work
    torch.set_num_threads(1)
    run, start = options.out / f"{code}_{seed}", time.perf_counter()
    chosen = [
        f"--model.model.attention.position={code}",
        f"--trainer.max_steps={options.steps}",
        f"--seed={seed}",
    ]
    silent = ["--trainer.enable_progress_bar=false", "--data.num_workers=0"]  # a core for each training
    run_training(
        ["--config", "tiny", "--data", str(options.data), "--out", str(run), *chosen, *silent, *training]
    )
    seconds, model = time.perf_counter() - start, load_run(run)
    seen, unseen = (judged(model, folder, options.limit) for folder in (options.seen, options.unseen))
    print(f"{code}, seed {seed}: {seconds:.0f} s of training", file=sys.stderr, flush=True)
    return Row(code, seed, seconds, seen, unseen)


def judged(model: Vpog, data: Path, limit: int) -> Scores:
    """Estimate every visible object of the first pictures of a folder."""
    dataset = open_dataset(data, model.spec.encoder.image_size, limit=limit)
    result = estimate_dataset(model, dataset)
    scores = evaluate_estimates(
        (dataset.source[number] for number in range(len(dataset.source))[:limit]),
        result.estimates,
        object_models(dataset.models, sorted(set(dataset.table.obj_id.tolist()))),
        spec=EvaluationSpec(min_visible=SampleSpec().min_visible, with_vsd=False),
    )
    errors = [item.rotation_deg for item in scores.found if item.estimated]
    count = len(scores.found)
    return Scores(
        count,
        result.accuracy.seen,
        result.accuracy.chance,
        len(errors) / count,
        sum(error < GOOD_DEG for error in errors) / count,
        statistics.median(errors) if errors else None,
    )


def _plain(row: Row) -> dict[str, Any]:
    """As JSON takes it: what is not known is None."""
    scores = {name: _known(getattr(row, name)) for name in ("seen", "unseen")}
    return {**row._asdict(), **scores}


def _known(scores: Scores) -> dict[str, Any]:
    return {name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in scores._asdict().items()}  # fmt: skip


def _cells(rows: Sequence[Row]) -> tuple[list[str], list[list[Any]]]:
    columns, cells = ["code", "seed", "seconds"], [[row.code, row.seed, row.train_seconds] for row in rows]
    for name in ("seen", "unseen"):
        columns += [f"{name}: patches right", "found", f"below {GOOD_DEG:g} deg", "median deg of found"]
        for line, row in zip(cells, rows, strict=True):
            scores: Scores = getattr(row, name)
            line += [scores.patch_accuracy, scores.found, scores.good, scores.median_deg]
    return columns, cells


if __name__ == "__main__":
    sys.exit(main())
