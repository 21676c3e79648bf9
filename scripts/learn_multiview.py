"""What the multi-view model learns of animals that it has not seen, seed by seed, beside what sees no picture.

    python scripts/learn_multiview.py --out learned --seeds 0 1 2

renders insects before four cameras, whose rig is a little otherwise in each sample, trains the preset `tiny` on 150 of
them with cameras that are not known, and judges it on 15 others: against the mean of those judged, the body at rest
before the mean rig, its own estimate of one view, and of the pictures of other samples. What is there is not made
again. What follows the options is passed to every training, such as `--trainer.max_steps 500`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from refkp._files import write_json
from refkp.commands import table
from refkp.systems.multiview.data.collation import collate
from refkp.systems.multiview.inference.predictor import ModelPredictor
from refkp.systems.multiview.losses.truth import truth_of
from refkp.systems.multiview.training.runs import load_run

NUM_TRAINING, NUM_HELD_OUT = 150, 15
#: Ratio -> (row and number, row and number it is divided by, what it should be at most).
RATIOS = {
    "MPJPE, of the mean pose's": ("model mpjpe_mm", "mean of the judged mpjpe_mm", 0.40),
    "PA-MPJPE, of the mean pose's": ("model pa_mpjpe_mm", "mean of the judged pa_mpjpe_mm", 0.75),
    "PA-MPJPE, of the rest pose's": ("model pa_mpjpe_mm", "rest pose, mean rig pa_mpjpe_mm", 1.0),
    "MPJPE of four views, of one view's": ("model mpjpe_mm", "model, 1 view mpjpe_mm", 0.85),
    "angle of cameras, of the mean rig's": ("model camera_deg", "rest pose, mean rig camera_deg", 0.5),
    "place of cameras, of the mean rig's": (
        "model camera_centre_mm",
        "rest pose, mean rig camera_centre_mm",
        0.5,
    ),
}
#: The mean pose's error must come back by this share where pictures are exchanged.
EXCHANGED = ("model, pictures exchanged mpjpe_mm", "mean of the judged mpjpe_mm", 0.9)


def main(arguments: Sequence[str] | None = None) -> int:
    """Render, train and judge every seed; returns 0."""
    options, training = _parser().parse_known_args(arguments)
    data, held_out = options.out / "train.h5", options.out / "held_out.h5"
    for path, first, count in ((data, 0, NUM_TRAINING), (held_out, NUM_TRAINING, NUM_HELD_OUT)):
        if not path.exists():
            which = ("--first_animal", str(first), "--num_animals", str(count))
            _refkp("multiview", "render", str(path), "--body", "insect", "--workers", "2", *which)
    seeds = [_judged(options.out, seed, data, held_out, training) for seed in options.seeds]
    names = [*RATIOS, "MPJPE of exchanged pictures, of the mean pose's", "minutes", "permuted views, mm"]
    rows = []
    for name in names:
        values = [seed[name] for seed in seeds]
        asked = RATIOS[name][2] if name in RATIOS else EXCHANGED[2] if "exchanged" in name else None
        spread = statistics.stdev(values) if len(values) > 1 else None
        rows.append([name, *values, statistics.mean(values), spread, asked])
    print(table(["", *(f"seed {seed}" for seed in options.seeds), "mean", "spread", "asked"], rows))
    write_json(options.out / "summary.json", {"seeds": list(options.seeds), "results": seeds})
    return 0


def _judged(out: Path, seed: int, data: Path, held_out: Path, training: list[str]) -> dict[str, Any]:
    run, judged = out / f"run_{seed}", out / f"judged_{seed}"
    if not judged.exists():
        options = ("--data", str(data), "--out", str(run), "--seed", str(seed), *training)
        _refkp("train", "multiview", "--config", "tiny", *options)
        _refkp("multiview", "eval", "--run", str(run), "--data", str(held_out), "--out", str(judged))
    told = json.loads((judged / "summary.json").read_text())
    values = {f"{row['name']} {key}": row[key] for row in told["rows"] for key in row if key != "name"}
    result: dict[str, Any] = {name: values[a] / values[b] for name, (a, b, _) in RATIOS.items()}
    result["MPJPE of exchanged pictures, of the mean pose's"] = values[EXCHANGED[0]] / values[EXCHANGED[1]]
    trained = json.loads((run / "train" / "summary.json").read_text())
    result |= {"minutes": trained["seconds"] / 60, "steps": trained["steps"], "judged": told["rows"]}
    return result | {"permuted views, mm": _permuted(run, held_out)}


def _permuted(run: Path, held_out: Path) -> float:
    """By how much joints move at most where the views of a sample come in another order."""
    trained = load_run(run)
    shown = trained.samples(held_out)
    batch = collate([shown[place] for place in range(0, len(shown), max(1, len(shown) // 16))])
    predictor, order = ModelPredictor(trained.model), torch.tensor([2, 0, 3, 1])
    turned = batch._replace(
        **{name: getattr(batch, name)[:, order] for name in ("images", "view_mask", "camera_indices")}
    )
    truth = truth_of(batch)
    return 1e3 * float((predictor(batch, truth).joints - predictor(turned, truth).joints).norm(dim=-1).max())


def _refkp(*arguments: str) -> None:
    """One core is left to the process that loads: threads that share a core wait for each other."""
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) - 1))}
    subprocess.run([sys.executable, "-m", "refkp", *arguments], check=True, env={**os.environ, **threads})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of data, runs and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the trainings")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
