"""Fit and judge the confidence of poses: how often are they right, and how far off, against what they state.

    python scripts/calibrate_poses.py collect --run RUN --data FOLDER --out rows.json [--limit N] [--boxes]
    python scripts/calibrate_poses.py fit ROWS... --judge ROWS... [--plot FILE] [--json FILE]

`collect` estimates every object of a folder of `refkp pose generate`, giving away every pose, and writes what the
confidence is made of beside the true error. `fit` fits the weights of `refkp.systems.pose.inference.confidence`
to the first rows and judges fitted and committed weights on the others, which should be of other pictures: shares of
poses that are wrong or held back, a reliability plot, and how many errors the stated sigmas cover.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._files import write_json
from refkp._progress import progress_bar
from refkp.commands import table
from refkp.systems.pose.crops import box_mask, mask_box
from refkp.systems.pose.data.datamodule import open_dataset
from refkp.systems.pose.inference.bank import TemplateBank, build_bank
from refkp.systems.pose.inference.confidence import (
    CALIBRATION,
    RIGHT_DEG,
    SIGMA_SCALE,
    Calibration,
    Features,
    features,
)
from refkp.systems.pose.inference.estimator import PoseEstimate, PoseEstimator
from refkp.systems.pose.inference.evaluation import object_models
from refkp.systems.pose.inference.spec import EstimatorSpec
from refkp.systems.pose.metrics.pose_errors import pose_errors
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.training.runs import load_run
from refkp.systems.pose.views import Views

#: Keeps the weights finite where the rows can be told apart without an error.
_RIDGE = 1e-2
_BINS = 10


class Judgement(NamedTuple):
    """What a confidence is worth."""

    given: int  # poses with at least the least confidence
    right: int  # poses that are right, given or not
    wrong_given: float  # share of the given ones that are wrong
    right_held_back: float  # share of the right ones that are not given
    sigma_rotation: float  # share of the right, given ones whose error is within one sigma
    sigma_translation: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    verbs = parser.add_subparsers(required=True)
    collecting = verbs.add_parser("collect")
    collecting.add_argument("--run", type=Path, required=True)
    collecting.add_argument("--data", type=Path, required=True)
    collecting.add_argument("--out", type=Path, required=True)
    collecting.add_argument("--limit", type=int, help="only the first pictures")
    collecting.add_argument("--boxes", action="store_true", help="the boxes of the masks in their place")
    collecting.set_defaults(verb=collect)
    fitting = verbs.add_parser("fit")
    fitting.add_argument("rows", type=Path, nargs="+")
    fitting.add_argument("--judge", type=Path, nargs="+", required=True)
    fitting.add_argument("--plot", type=Path)
    fitting.add_argument("--json", type=Path)
    fitting.set_defaults(verb=fit)
    options = parser.parse_args(arguments)
    options.verb(options)
    return 0


def collect(options: argparse.Namespace) -> None:
    """Write one row for every object: features, errors and sigmas, or only the reason why there is no pose."""
    model = load_run(options.run)
    dataset = open_dataset(options.data, model.spec.encoder.image_size, limit=options.limit)
    templates = dataset.templates
    known = object_models(dataset.models, templates.store.obj_ids)
    symmetries = {obj_id: item.symmetries for obj_id, item in known.items()}
    banks: dict[int, TemplateBank] = {}
    rows = []
    for number in progress_bar(range(len(dataset)), "poses"):
        sample = dataset[number]
        if sample.obj_id not in banks:
            count = len(templates.store.poses(sample.obj_id))
            banks[sample.obj_id] = build_bank(model, templates.views(sample.obj_id, torch.arange(count)))
        query = as_box(sample.query) if options.boxes else sample.query
        rows.append(row(model, banks[sample.obj_id], query, symmetries[sample.obj_id]))
    write_json(options.out, rows)


def as_box(query: Views) -> Views:
    """The same view with the whole of its mask's box as its mask; its picture stays black off the object."""
    return query._replace(masks=box_mask(mask_box(query.masks), query.size))


def row(model: Vpog, bank: TemplateBank, query: Views, symmetries: Tensor) -> dict[str, Any]:
    """What is said of one object, and what is true."""
    found = PoseEstimator(model, bank, EstimatorSpec(min_confidence=0.0)).estimate(query)
    if not isinstance(found, PoseEstimate):
        return {"failure": found.reason}
    errors = pose_errors(found.cam_from_obj[None], query.cam_from_obj[None], symmetries)
    return {
        "features": features(found.support, found.outline)._asdict(),
        "support": found.support._asdict(),
        "outline": found.outline._asdict(),
        "median_px": found.median_px,
        "score": found.score,
        "rotation_deg": float(errors.rotation_deg),
        "translation": float(errors.translation),
        "sigma_deg": found.uncertainty.sigma_deg,
        "sigma_mm": found.uncertainty.sigma_mm,
    }


def fit(options: argparse.Namespace) -> None:
    """Fit, judge and print."""
    known, judged = (read_rows(paths) for paths in (options.rows, options.judge))
    fitted = logistic_regression(feature_matrix(known), is_right(known))
    print(f"fitted to {len(known)} poses: {fitted}")
    print(f"sigmas to be multiplied by {sigma_factor(known, fitted):.3f} beyond {SIGMA_SCALE}")
    results = {}
    for name, calibration in (("fitted", fitted), ("committed", CALIBRATION)):
        results[name] = {"all": judge(judged, calibration)._asdict()}
        for path in options.judge:
            results[name][path.stem] = judge(read_rows([path]), calibration)._asdict()
        rows = [(data, *values.values()) for data, values in results[name].items()]
        print(f"\n{name} weights, on {len(judged)} other poses")
        print(table(("", *Judgement._fields), rows))
    if options.json:
        write_json(options.json, results)
    if options.plot:
        plot(judged, options.plot)


def read_rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The rows with a pose."""
    rows = [row for path in paths for row in json.loads(path.read_text())]
    return [row for row in rows if "failure" not in row]


def feature_matrix(rows: Sequence[dict[str, Any]]) -> Tensor:
    """[n,5]."""
    return torch.tensor([[row["features"][name] for name in Features._fields] for row in rows]).double()


def is_right(rows: Sequence[dict[str, Any]]) -> Tensor:
    """[n] bool."""
    return torch.tensor([row["rotation_deg"] <= RIGHT_DEG for row in rows])


def probabilities(rows: Sequence[dict[str, Any]], calibration: Calibration) -> Tensor:
    """[n], the confidence of the rows."""
    weights = torch.tensor(calibration.weights, dtype=torch.float64)
    return torch.sigmoid(feature_matrix(rows) @ weights + calibration.bias)


def logistic_regression(values: Tensor, right: Tensor) -> Calibration:
    """The weights, none below 0 since no evidence for a pose speaks against it, of the least cross entropy."""
    raw = torch.zeros(values.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([raw], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        weights = functional.softplus(raw[1:])
        odds = values @ weights + raw[0]
        total = functional.binary_cross_entropy_with_logits(odds, right.double())
        total = total + _RIDGE * weights.square().mean()
        total.backward()
        return total

    optimiser.step(loss)
    weights = functional.softplus(raw[1:]).tolist()
    return Calibration(float(raw.detach()[0]), Features(*weights))


def judge(rows: Sequence[dict[str, Any]], calibration: Calibration) -> Judgement:
    """What the confidence is worth on some rows, with the least confidence of the defaults."""
    right, given = is_right(rows), probabilities(rows, calibration) >= EstimatorSpec().min_confidence
    both = right & given
    covered = [
        torch.tensor([row[error] <= row[sigma] for row in rows])[both].double().mean().item()
        for error, sigma in (("rotation_deg", "sigma_deg"), ("translation", "sigma_mm"))
    ]
    return Judgement(
        int(given.sum()),
        int(right.sum()),
        share(given & ~right, given),
        share(right & ~given, right),
        *covered,
    )


def sigma_factor(rows: Sequence[dict[str, Any]], calibration: Calibration) -> float:
    """By which sigmas are too small: the value below which 68 % of error / sigma lie, of rotations and translations."""
    given = is_right(rows) & (probabilities(rows, calibration) >= EstimatorSpec().min_confidence)
    kept = [row for row, is_given in zip(rows, given.tolist(), strict=True) if is_given]
    ratios = [row["rotation_deg"] / row["sigma_deg"] for row in kept]
    ratios += [row["translation"] / row["sigma_mm"] for row in kept]
    return float(torch.tensor(ratios).quantile(0.68))


def share(some: Tensor, of: Tensor) -> float:
    """Part of the ones; NaN of none."""
    return float(some.sum() / of.sum()) if bool(of.any()) else math.nan


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """The share of right poses over what they say, in ten bins; and errors in units of their sigmas."""
    from matplotlib.figure import Figure

    right, stated = is_right(rows).double(), probabilities(rows, CALIBRATION)
    bins = (stated * _BINS).long().clamp(max=_BINS - 1)
    figure = Figure(figsize=(10, 4), layout="constrained")
    reliability, sigmas = figure.subplots(1, 2)
    reliability.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for number in bins.unique().tolist():
        inside = bins == number
        x, y, count = float(stated[inside].mean()), float(right[inside].mean()), int(inside.sum())
        error = math.sqrt((y * (1 - y) + 1 / (4 * count)) / count)
        reliability.errorbar(x, y, yerr=error, fmt="o", color="#14213d", capsize=3)
        reliability.annotate(str(count), (x, y), textcoords="offset points", xytext=(6, -10), fontsize=8)
    reliability.set(xlabel="stated confidence", ylabel="share of right poses", ylim=(-0.05, 1.08))
    kept = (right > 0) & (stated >= EstimatorSpec().min_confidence)
    for error_name, sigma_name, label in (
        ("rotation_deg", "sigma_deg", "rotation"),
        ("translation", "sigma_mm", "translation"),
    ):
        ratio = torch.tensor([row[error_name] / row[sigma_name] for row in rows])[kept].sort().values
        sigmas.plot(ratio, torch.linspace(0, 1, len(ratio)), label=label)
    sigmas.axvline(1, color="0.7", linewidth=1)
    sigmas.axhspan(0.6, 0.75, color="0.93")
    sigmas.set(xlabel="error / stated sigma", ylabel="share of right poses below", xlim=(0, 4), ylim=(0, 1))
    sigmas.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    raise SystemExit(main())
