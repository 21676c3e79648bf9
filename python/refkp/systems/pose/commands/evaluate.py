"""`refkp pose eval`: the scores of the BOP challenge, of a trained run or of a result file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from refkp._checks import fail
from refkp.commands import (
    add_device,
    add_out,
    add_run,
    add_workers,
    chosen_device,
    output_folder,
    parsed,
    parser,
    require_counts,
    table,
)

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.pose.data.models import ModelSet
    from refkp.systems.pose.data.sources import SceneSource
    from refkp.systems.pose.data.template_cache import TemplateSource
    from refkp.systems.pose.inference.evaluation import RunResult
    from refkp.systems.pose.metrics.evaluation import Targets
    from refkp.systems.pose.scene import Scene

_COMMAND = "refkp pose eval"
_EXAMPLE = f"""\
refkp pose generate --objects 1 --scenes 20 --templates_level 0 --out data
refkp train pose --config tiny --data data --out runs/pose
{_COMMAND} --run runs/pose --data data --limit 5"""

_COLUMNS = ("ar", "ar_vsd", "ar_mssd", "ar_mspd", "num_targets")


def evaluate(argv: list[str]) -> int:
    """Score estimated poses: those of a trained run, with the true visible masks as detections, or of a file."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "limit", "workers")
    if (options.run is None) == (options.csv is None):
        got = "neither" if options.run is None else "both"
        fail(_COMMAND, "run, csv", "one of them", got)

    from refkp._files import write_json
    from refkp.systems.pose.data.datamodule import open_source
    from refkp.systems.pose.metrics.csv import read_bop_csv, write_bop_csv

    options.rules = replace(options.rules, dataset=options.rules.dataset or options.data.resolve().name)
    source = open_source(options.data, options.split)
    numbers = range(len(source))[: options.limit]
    result = None if options.run is None else _estimated(options, source, numbers)
    estimates = read_bop_csv(options.csv) if result is None else result.estimates
    values = _scored(options, source, numbers, estimates, result)
    written = ["summary.json"]
    with output_folder(options.out) as folder:
        write_json(folder / "summary.json", values)
        if result is not None:
            written.append(_csv_name(options))
            write_bop_csv(folder / written[-1], estimates)
    _print(values, len(numbers))
    print(f"{' and '.join(written)} in {options.out}")
    return 0


def _parser() -> ArgumentParser:
    from refkp.systems.pose.inference.spec import EstimatorSpec
    from refkp.systems.pose.metrics.spec import EvaluationSpec

    command = parser(_COMMAND, evaluate.__doc__, example=_EXAMPLE)
    add = command.add_argument
    add("--data", type=Path, required=True, help="a folder of `refkp pose generate`, or of a BOP data set")
    add("--split", type=str, default="shards", help="folder of the pictures: test, say, of a BOP data set")
    add(
        "--targets",
        type=Path | None,
        default=None,
        help="a test_targets_bop19.json; default: all visible objects",
    )
    add_run(command, "pose", required=False)
    add("--csv", type=Path | None, default=None, help="a result file instead of a run")
    add("--templates", type=Path | None, default=None, help="default: DATA/templates, else from its models")
    add_workers(command, "objects that are worked on at a time, each by one thread")
    add("--estimator", type=EstimatorSpec, default=EstimatorSpec(), help="matches, RANSAC, refinement")
    add(
        "--mode",
        type=Literal["cluster", "global"] | None,
        default=None,
        help="short for --estimator.modes.mode",
    )
    add_device(command)
    add("--limit", type=int | None, default=None, help="only the first pictures")
    add_out(command, "summary.json and the result file", default="pose_eval")
    add("--method", type=str, default="refkp", help="name of the method in the result file")
    add(
        "--rules",
        type=EvaluationSpec,
        default=EvaluationSpec(),
        help="of the scores; --rules.dataset: default: the name of the folder",
    )
    return command


def _estimated(options: Any, source: SceneSource, numbers: range) -> RunResult:
    from refkp.systems.pose.data.dataset import PoseDataset, SampleSpec, tabulate_instances
    from refkp.systems.pose.data.models import ModelSet
    from refkp.systems.pose.data.template_cache import TemplateCache
    from refkp.systems.pose.inference.evaluation import RunSpec, estimate_dataset
    from refkp.systems.pose.training.runs import load_run

    _csv_name(options)  # a name that the challenge would refuse is told before the work
    model = load_run(options.run).to(chosen_device(options.device))
    models = ModelSet(options.data)
    store = _templates(options, models)
    templates = TemplateCache(store, model.spec.encoder.image_size)
    samples = SampleSpec(min_visible=options.rules.min_visible)
    instances = tabulate_instances(source, store.obj_ids, samples.min_visible, list(numbers))
    dataset = PoseDataset(source, instances, templates, models, samples)
    estimator = options.estimator
    if options.mode is not None:
        estimator = replace(estimator, modes=replace(estimator.modes, mode=options.mode))
    result = estimate_dataset(model, dataset, RunSpec(estimator), workers=options.workers)
    print(f"{len(result.estimates)} estimates of {len(dataset)} objects")
    return result


def _templates(options: Any, models: ModelSet) -> TemplateSource:
    """Those of a store where there is one, else of the models."""
    from refkp.systems.pose.data.rendered_templates import RenderedTemplates
    from refkp.systems.pose.templates.store import TemplateStore

    folder = options.templates or options.data / "templates"
    if options.templates is not None or folder.is_dir():
        return TemplateStore(folder)
    print(f"no templates in {folder}: they are rendered from the models, and kept beside them")
    return RenderedTemplates(models, workers=options.workers)


def _csv_name(options: Any) -> str:
    from refkp.systems.pose.metrics.csv import bop_csv_name

    dataset = options.rules.dataset.replace("_", "-")
    return bop_csv_name(options.method, dataset, "test" if options.split == "shards" else options.split)


def _scored(
    options: Any, source: SceneSource, numbers: range, estimates: Any, result: RunResult | None
) -> dict[str, Any]:
    from refkp.systems.pose.data.models import ModelSet
    from refkp.systems.pose.inference.evaluation import object_models, summary
    from refkp.systems.pose.metrics.evaluation import evaluate_estimates

    shown = {item.obj_id for number in numbers for item in source.annotations(number)}
    scores = evaluate_estimates(
        _scenes(source, numbers),
        estimates,
        object_models(ModelSet(options.data), sorted(shown)),
        targets=_targets(options, source, numbers),
        spec=options.rules,
    )
    return summary(scores, result)


def _scenes(source: SceneSource, numbers: range) -> Iterator[Scene]:
    for number in numbers:
        yield source[number]


def _targets(options: Any, source: SceneSource, numbers: range) -> Targets | None:
    """What is to be found in the chosen pictures."""
    from refkp.systems.pose.data.bop import read_targets

    if options.targets is None:
        return None
    chosen = {source.keys[number] for number in numbers}
    targets: dict[tuple[int, int, int], int] = {}
    for target in read_targets(options.targets):
        if target.obj_id is None or target.num_instances is None:
            remedy = "Those of 2024 ask for detection; give test_targets_bop19.json, or leave --targets out."
            fail(
                _COMMAND,
                "targets",
                "objects with their number",
                f"pictures alone in {options.targets}",
                remedy,
            )
        if target.picture in chosen:
            targets[(*target.picture, target.obj_id)] = target.num_instances
    return targets


def _print(values: Mapping[str, Any], num_pictures: int) -> None:
    print(
        f"{num_pictures} pictures, {values['num_targets']} targets, {values['num_estimated']} with an estimate"
    )
    is_run = "failures" in values
    if is_run:
        print("detections: the true visible masks, so that finding the objects is not judged")
    rows = {"all": values, **{f"object {name}": row for name, row in values["objects"].items()}}
    print(
        table(("", *_COLUMNS), [(name, *(row[column] for column in _COLUMNS)) for name, row in rows.items()])
    )
    if values["ar_vsd"] is None:
        print("no VSD, and so no AR: a picture has no depth, or it was not asked for")
    for kind, text in (("", "with the object's symmetries"), ("plain_", "without")):
        rotation, distance = values[f"median_{kind}rotation_deg"], values[f"median_{kind}translation"]
        if rotation is None:
            missing = values["num_targets"] - values["num_estimated"]
            print(
                f"no median error {text}: {missing} of {values['num_targets']} targets have no estimate, so that the "
                "middle one is infinite"
            )
        else:
            print(f"median error {text}, of all targets: {_text(rotation)} degrees, {_text(distance)} mm")
    if is_run:
        _print_run(values)


def _print_run(values: Mapping[str, Any]) -> None:
    """What only a run tells, beside what guesses would reach."""
    failures = ", ".join(f"{reason} {count}" for reason, count in sorted(values["failures"].items()))
    print(f"no pose: {failures or 'never'}")
    accuracy = values["patch_accuracy_seen"]
    print(f"patch accuracy: {_text(accuracy)}, by chance {_text(values['patch_accuracy_chance'])}")
    print(
        f"median rotation error of a random template: {_text(values['random_template_deg'])} degrees; of the nearest "
        f"of {values['num_templates_drawn']}: {_text(values['nearest_template_deg'])}"
    )


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
