"""`refkp pose eval`: the scores of the BOP challenge, of a trained run or of a result file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from refkp._checks import fail
from refkp._extras import named_extras

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.pose.data.sources import SceneSource
    from refkp.systems.pose.inference.evaluation import RunResult
    from refkp.systems.pose.metrics.evaluation import Targets
    from refkp.systems.pose.scene import Scene

_COLUMNS = ("ar", "ar_vsd", "ar_mssd", "ar_mspd", "num_targets")


def evaluate(argv: list[str]) -> int:
    """Score estimated poses: those of a trained run, with the true visible masks as detections, or of a file."""
    from refkp._files import write_text
    from refkp.systems.pose.data.datamodule import open_source
    from refkp.systems.pose.data.models import ModelSet
    from refkp.systems.pose.inference.evaluation import object_models, summary
    from refkp.systems.pose.metrics.csv import read_bop_csv
    from refkp.systems.pose.metrics.evaluation import evaluate_estimates

    parser = _parser()
    options = parser.instantiate(parser.parse_args(argv))
    if (options.run is None) == (options.csv is None):
        got = "neither" if options.run is None else "both"
        fail("refkp pose eval", "run, csv", "one of them", got)
    if options.device == "cuda" and not torch.cuda.is_available():
        fail("refkp pose eval", "device", "cpu on a machine without CUDA", "cuda")
    options.rules = replace(options.rules, dataset=options.rules.dataset or options.data.resolve().name)
    source = open_source(options.data, options.split)
    numbers = range(len(source))[: options.limit]
    result = None if options.run is None else _estimated(options, source, numbers)
    shown = {item.obj_id for number in numbers for item in source.annotations(number)}
    scores = evaluate_estimates(
        _scenes(source, numbers),
        read_bop_csv(options.csv) if result is None else result.estimates,
        object_models(ModelSet(options.data), sorted(shown)),
        targets=_targets(options, source, numbers),
        spec=options.rules,
    )
    values = summary(scores, result)
    write_text(options.out / "summary.json", json.dumps(values, indent=2) + "\n")
    _print(values, len(numbers))
    print(f"summary.json in {options.out}")
    return 0


def _parser() -> ArgumentParser:
    with named_extras():
        from jsonargparse import ArgumentParser

    from refkp.systems.pose.inference.estimator import EstimatorSpec
    from refkp.systems.pose.metrics.evaluation import EvaluationSpec

    parser = ArgumentParser(prog="refkp pose eval", description=evaluate.__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="a folder of `refkp pose generate`, or of a BOP data set")
    add("--split", type=str, default="shards", help="folder of the pictures: test, say, of a BOP data set")
    add(
        "--targets",
        type=Path | None,
        default=None,
        help="a test_targets_bop19.json; default: all visible objects",
    )
    add("--run", type=str | None, default=None, help="folder of `refkp train pose`, or a checkpoint")
    add("--csv", type=Path | None, default=None, help="a result file instead of a run")
    add("--templates", type=Path | None, default=None, help="default: the folder templates of the data")
    add(
        "--estimator",
        type=EstimatorSpec,
        default=EstimatorSpec(),
        help="how the poses of a run are estimated",
    )
    add(
        "--mode",
        type=Literal["cluster", "global"] | None,
        default=None,
        help="short for --estimator.modes.mode",
    )
    add("--device", type=Literal["cpu", "cuda"], default="cpu", help="of the model")
    add("--limit", type=int | None, default=None, help="only the first pictures")
    add("--out", type=Path, default=Path("pose_eval"), help="folder of summary.json and of the result file")
    add("--method", type=str, default="refkp", help="name of the method in the result file")
    add(
        "--rules",
        type=EvaluationSpec,
        default=EvaluationSpec(),
        help="of the scores; --rules.dataset: default: the name of the folder",
    )
    return parser


def _scenes(source: SceneSource, numbers: range) -> Iterator[Scene]:
    for number in numbers:
        yield source[number]


def _targets(options: Any, source: SceneSource, numbers: range) -> Targets | None:
    """What is to be found in the chosen pictures."""
    from refkp.systems.pose.data.bop import read_targets

    if options.targets is None:
        return None
    chosen = {tuple(map(int, source.keys[number].split("_"))) for number in numbers}
    return {
        (target.scene_id, target.image_id, target.obj_id): target.num_instances
        for target in read_targets(options.targets)
        if (target.scene_id, target.image_id) in chosen
    }


def _estimated(options: Any, source: SceneSource, numbers: range) -> RunResult:
    """The run on the pictures; its result file is written beside the summary."""
    from refkp.systems.pose.data.dataset import PoseDataset, SampleSpec, tabulate_instances
    from refkp.systems.pose.data.models import ModelSet
    from refkp.systems.pose.data.template_cache import TemplateCache
    from refkp.systems.pose.inference.evaluation import RunSpec, estimate_dataset
    from refkp.systems.pose.metrics.csv import bop_csv_name, write_bop_csv
    from refkp.systems.pose.templates.store import TemplateStore
    from refkp.systems.pose.training.runs import load_run

    dataset_name = options.rules.dataset.replace("_", "-")
    name = bop_csv_name(options.method, dataset_name, "test" if options.split == "shards" else options.split)
    model = load_run(options.run).to(options.device)
    store = TemplateStore(options.templates or options.data / "templates")
    templates = TemplateCache(store, model.spec.encoder.image_size)
    samples = SampleSpec(min_visible=options.rules.min_visible)
    table = tabulate_instances(source, store.obj_ids, samples.min_visible, list(numbers))
    dataset = PoseDataset(source, table, templates, ModelSet(options.data), samples)
    estimator = options.estimator
    if options.mode is not None:
        estimator = replace(estimator, modes=replace(estimator.modes, mode=options.mode))
    result = estimate_dataset(model, dataset, RunSpec(estimator))
    write_bop_csv(options.out / name, result.estimates)
    print(f"{len(result.estimates)} estimates of {len(dataset)} objects in {options.out / name}")
    return result


def _print(values: Mapping[str, Any], num_pictures: int) -> None:
    print(
        f"{num_pictures} pictures, {values['num_targets']} targets, {values['num_estimated']} with an estimate"
    )
    is_run = "failures" in values
    if is_run:
        print("detections: the true visible masks, so that finding the objects is not judged")
    print(f"{'':12}" + "".join(f"{name:>12}" for name in _COLUMNS))
    for name, row in {"all": values, **values["objects"]}.items():
        cells = "".join(f"{_text(row[column]):>12}" for column in _COLUMNS)
        print(f"{name if name == 'all' else 'object ' + name:12}{cells}")
    if values["ar_vsd"] is None:
        print("no VSD, and so no AR: a picture has no depth, or it was not asked for")
    for kind, text in (("", "with the object's symmetries"), ("plain_", "without")):
        rotation, distance = values[f"median_{kind}rotation_deg"], values[f"median_{kind}translation"]
        print(f"median error {text}, of all targets: {_text(rotation)} degrees, {_text(distance)} mm")
    if not is_run:
        return
    failures = ", ".join(f"{reason} {count}" for reason, count in sorted(values["failures"].items()))
    print(f"no pose: {failures or 'never'}")
    accuracy = values["patch_accuracy_seen"]
    print(f"patch accuracy: {_text(accuracy)}, by chance {_text(values['patch_accuracy_chance'])}")
    print(
        f"median rotation error of a random template: {_text(values['random_template_deg'])} degrees; of the nearest "
        f"of {values['num_templates_drawn']}: {_text(values['nearest_template_deg'])}"
    )


def _text(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
