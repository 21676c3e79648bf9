"""The pose pages: matches of made-up objects with their templates, poses from them, and a very short training."""

from __future__ import annotations

from pathlib import Path

import torch

from refkp._extras import named_extras
from refkp.data.shapes import KINDS, make_object
from refkp.ops.flow_gt import patch_grid
from refkp.systems.pose import pictures
from refkp.systems.pose.commands.train import REPORTED
from refkp.systems.pose.data.composition import GeneratorSpec
from refkp.systems.pose.data.datamodule import open_source
from refkp.systems.pose.data.dataset import PoseDataset, PoseSample, SampleSpec, collate, tabulate_instances
from refkp.systems.pose.data.generator import generate_scenes
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.estimator import PoseEstimate, estimate_pose
from refkp.systems.pose.inference.evaluation import RunResult, estimate_dataset, object_models, summary
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.ground_truth import TargetPredictor
from refkp.systems.pose.metrics.evaluation import evaluate_estimates
from refkp.systems.pose.metrics.symmetry import pose_errors
from refkp.systems.pose.targets import pose_targets
from refkp.systems.pose.templates.rendering import render_templates
from refkp.systems.pose.templates.store import TemplateStore
from refkp.systems.pose.training.runs import load_run
from refkp.systems.pose.training.trainer import TrainingRun, run_training
from refkp.training.curves import read_curves
from refkp.viz.curves import training_curves
from refkp.viz.report import Report

with named_extras():
    from rich.progress import track

#: Objects, pictures and steps of a report in about a minute.
_OBJECTS = 2
_SCENES = 60
_HELD_OUT = 8
_TEMPLATE_LEVEL = 0
_STEPS = 60
_PICTURE = (240, 320)
_CROP, _PATCH = 224, 16


def make_data(folder: Path) -> tuple[Path, Path]:
    """Pictures to train on with models and templates, and held-out pictures of the same objects, made once."""
    folders = folder / "train", folder / "held_out"
    models = {number + 1: make_object(KINDS[number % len(KINDS)], seed=number) for number in range(_OBJECTS)}
    for seed, (where, count) in enumerate(zip(folders, (_SCENES, _HELD_OUT), strict=True)):
        spec = GeneratorSpec(count, size=_PICTURE, max_objects=_OBJECTS, samples=1)
        generate_scenes(models, where, spec, seed=seed)
    if not (folders[0] / "templates" / "store.json").exists():
        for obj_id, mesh in models.items():
            render_templates(mesh, obj_id, folders[0] / "templates", level=_TEMPLATE_LEVEL, workers=0)
    return folders


def match_page(report: Report, train: Path, held_out: Path) -> None:
    """True matches of a held-out object with a template, and the poses that follow from true matches."""
    dataset = _samples(train, held_out, _CROP)
    errors = [_from_true_matches(dataset, index) for index in track(range(len(dataset)), description="poses")]
    known = torch.tensor([error for error in errors if error is not None])
    sample = _largest(dataset)
    targets = pose_targets(*collate([sample])[:2], _PATCH)
    shown = pictures.shown_targets(targets, 0, 0)
    report.section("An object and a template of it")
    report.text(
        f"{_OBJECTS} made-up objects, {len(dataset.templates.store.poses(sample.obj_id))} rendered templates each. Of "
        "every patch of a picture the model names the patch of a template that shows the same surface, or none; inside "
        "a pair of patches a flow says where each pixel of the template is seen. Here is the ground truth that it "
        "learns from, by the flow_gt kernel from depth and poses."
    )
    report.numbers(
        [
            (f"{int(shown.matched.sum())} of {int((shown.state >= 0).sum())}", "patches see this template"),
            (f"{known.median():.2f}°", "median rotation error from true matches"),
            (f"{len(known)} of {len(errors)}", "held-out objects with a pose"),
        ]
    )
    template = sample.templates.select(0)
    report.figure(
        pictures.correspondence_picture(sample.query, template, shown),
        "Above: a patch of the picture has the colour of the place that it shows in the template; hatched patches "
        "see nothing of it. Below: one pair, pixel by pixel.",
    )


def training_page(report: Report, train: Path, held_out: Path, run: Path) -> None:
    """Train the tiny preset for a few steps, and judge it on held-out pictures against blind guesses."""
    trained = run_training(
        [*("--config", "tiny", "--data", str(train), "--out", str(run)), f"--trainer.max_steps={_STEPS}"]
    )
    model = load_run(trained.folder)
    dataset = _samples(train, held_out, model.spec.encoder.image_size)
    result = estimate_dataset(model, dataset)
    report.section("Poses of pictures that training has not seen")
    _tell_training(report, trained, len(dataset))
    _tell_result(report, result, dataset, ModelSet(train))
    names = ("train/loss_total", "train/acc_seen")
    report.figure(
        training_curves(read_curves(trained.folder, names), "value"),
        "The loss and the accuracy over the steps.",
    )


def _tell_training(report: Report, trained: TrainingRun, num_judged: int) -> None:
    report.text(
        f"The tiny preset, random weights, {_STEPS} steps in {trained.seconds:.0f} s on {trained.num_training} crops: "
        "enough to see that it learns, far from enough to learn; `refkp train pose --config tiny` on more pictures "
        f"takes a quarter of an hour. It is judged on {num_judged} crops of other pictures of the same objects; their "
        "true visible masks stand for a detector."
    )
    rows = [
        (title, f"{trained.before[key]:.4f}", f"{trained.after[key]:.4f}")
        for key, title in REPORTED.items()
        if key in trained.before
    ]
    report.table(("held out of the training pictures", "before", "after"), rows)


def _tell_result(report: Report, result: RunResult, dataset: PoseDataset, models: ModelSet) -> None:
    """Numbers against chance and blind guesses, and the pose that the model is surest of on its picture."""
    scenes = {
        (scene.scene_id, scene.image_id): scene
        for scene in map(dataset.source.__getitem__, range(len(dataset.source)))
    }
    scores = evaluate_estimates(scenes.values(), result.estimates, object_models(models, models.obj_ids))
    values = summary(scores, result)
    report.numbers(
        [
            (f"{100 * result.accuracy.seen:.1f} %", "of the patches find their partner"),
            (f"{100 * result.accuracy.chance:.1f} %", "by chance"),
            (_degrees(values["median_rotation_deg"]), "median rotation error"),
            (_degrees(result.random_template_deg), "of a random template"),
            (_degrees(result.nearest_template_deg), f"of the nearest of {result.num_drawn}"),
            (f"{values['num_estimated']} of {values['num_targets']}", "objects with a pose"),
        ]
    )
    if not result.estimates:
        return
    best = max(result.estimates, key=lambda row: row.score)
    scene = scenes[best.scene_id, best.image_id]
    poses = [instance.cam_from_obj for instance in scene.instances if instance.obj_id == best.obj_id]
    truth = min(poses, key=lambda pose: float((pose[:3, 3] - best.t).norm()))
    report.figure(
        pictures.overlay_picture(
            scene.rgb, models.mesh(best.obj_id), scene.K, best.cam_from_obj, truth=truth
        ),
        "The pose that the model is surest of, and the true one.",
    )


def _degrees(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}°"


def _samples(train: Path, held_out: Path, size: int) -> PoseDataset:
    """The held-out crops with the templates that training uses."""
    source, store = open_source(held_out), TemplateStore(train / "templates")
    spec = SampleSpec()
    table = tabulate_instances(source, store.obj_ids, spec.min_visible)
    return PoseDataset(source, table, TemplateCache(store, size), spec)


def _from_true_matches(dataset: PoseDataset, index: int) -> float | None:
    """Rotation error in degrees of the pose that the true matches with four templates give; None: no pose."""
    sample = dataset[index]
    chosen = sample.templates.select(sample.is_positive)
    bank = TemplateBank(torch.zeros(len(chosen.depth), 0, 0), chosen.depth, chosen.K, chosen.cam_from_obj)
    rows, columns = patch_grid(sample.query.size, _PATCH)
    predictor = TargetPredictor(sample.query, chosen, _PATCH)
    found = estimate_pose(predictor, bank, sample.query, PatchGrid(rows, columns, _PATCH))
    if not isinstance(found, PoseEstimate):
        return None
    return pose_errors(found.cam_from_obj[None], sample.query.cam_from_obj[None]).rotation_deg.item()


def _largest(dataset: PoseDataset) -> PoseSample:
    """The crop in which most of the picture is object."""
    return max(
        map(dataset.__getitem__, range(len(dataset))), key=lambda sample: int(sample.query.masks.sum())
    )
