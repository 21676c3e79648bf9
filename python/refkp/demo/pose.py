"""The pose pages: matches of made-up objects with their templates, poses from them, and a very short training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from refkp._files import whole_folder
from refkp._progress import progress_bar
from refkp.commands import available_cores
from refkp.data.shapes import make_object
from refkp.ops.flow_gt import patch_grid
from refkp.systems.pose import pictures
from refkp.systems.pose.data.datamodule import open_source
from refkp.systems.pose.data.dataset import PoseDataset, PoseSample, SampleSpec, collate, tabulate_instances
from refkp.systems.pose.data.generator import generate_scenes
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.data.spec import GeneratorSpec
from refkp.systems.pose.data.template_cache import TemplateCache
from refkp.systems.pose.inference.bank import TemplateBank, build_bank
from refkp.systems.pose.inference.estimator import PoseEstimate, estimate_pose
from refkp.systems.pose.inference.evaluation import (
    RunResult,
    RunSpec,
    estimate_dataset,
    object_models,
    summary,
)
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.ground_truth import TargetPredictor
from refkp.systems.pose.inference.predictor import ModelPredictor
from refkp.systems.pose.inference.spec import EstimatorSpec, MatchSpec, ModeSpec, RansacSpec
from refkp.systems.pose.inference.task import Task
from refkp.systems.pose.metrics.evaluation import evaluate_estimates
from refkp.systems.pose.metrics.pose_errors import pose_errors
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.scene import Scene
from refkp.systems.pose.targets import pose_targets
from refkp.systems.pose.templates.rendering import render_templates
from refkp.systems.pose.templates.store import TemplateStore
from refkp.systems.pose.training.runs import load_run
from refkp.systems.pose.training.system import POSE, run_training
from refkp.training.curves import read_curves
from refkp.training.run import TrainingRun, reported_values
from refkp.viz.curves import training_curves
from refkp.viz.report import Report

_KIND = "box"
_TEMPLATE_SIZE = (240, 320)  # half of their usual pictures
_CROP, _PATCH = 112, 8  # of the pictures of true matches

#: What the tiny preset is changed in: 6 x 6 patches, three templates a sample, half the encoder and attention.
_OPTIONS = {
    "model.model.encoder.image_size": 72,
    "model.model.encoder.depth": 2,
    "model.model.attention.depth": 1,
    "model.model.attention.window": 3,
    "model.loss.unseen_weight": 0.3,  # the partners of the patches that are seen are learned first
    "model.optimizer.lr": 2.5e-3,
    "data.samples.num_positives": 2,
    "data.num_workers": 0,
    "trainer.max_steps": -1,
    "trainer.log_every_n_steps": 1,
}


#: A pose of every picture, however few matches agree with it, so that the median says all. Fewer samples and matches
#: than usual: RANSAC takes most of the time of an estimate, and 28 s became 14 s at the same errors.
_JUDGING = RunSpec(
    EstimatorSpec(
        modes=ModeSpec(matching=MatchSpec(max_count=300)),
        ransac=RansacSpec(iterations=200),
        min_confidence=0.0,
    )
)

#: What counts as the right view; the templates are 32 degrees apart.
_NEAR_DEG = 20.0


@dataclass(frozen=True)
class PoseTask:
    """A task so small that a minute can show learning: one object, seen nearly upright.

    Args:
        num_training, num_held_out: pictures.
        size: (height, width) of the pictures.
        max_inplane_deg: turns about the line of sight, either way.
        template_level: of the templates, 0 for 42 views.
        epochs: of training.
    """

    num_training: int = 200
    num_held_out: int = 24
    size: tuple[int, int] = (150, 200)
    max_inplane_deg: float = 5.0
    template_level: int = 0
    epochs: int = 12


_TASK = PoseTask()


def make_data(folder: Path, task: PoseTask = _TASK) -> None:
    """Pictures to train on with the model and its templates, and held-out pictures of the same object.

    An earlier folder is replaced.
    """
    mesh = make_object(_KIND, seed=0)
    with whole_folder(folder) as unfinished:
        for seed, (name, count) in enumerate((("train", task.num_training), ("held_out", task.num_held_out))):
            spec = GeneratorSpec(
                count,
                size=task.size,
                distance=(2.0, 2.6),
                max_inplane_deg=task.max_inplane_deg,
                max_objects=1,
                max_occluders=0,
                samples=1,
            )
            generate_scenes({1: mesh}, unfinished / name, spec, seed=seed)
        store = unfinished / "train" / "templates"
        render_templates(
            mesh, 1, store, level=task.template_level, size=_TEMPLATE_SIZE, workers=available_cores()
        )


def match_page(report: Report, folder: Path, task: PoseTask = _TASK) -> None:
    """Make the data in `folder`; true matches of a held-out picture with a template, and the poses they give."""
    make_data(folder, task)
    train, held_out = folder / "train", folder / "held_out"
    dataset = _samples(train, held_out, _CROP)
    found = [_from_true_matches(dataset[index]) for index in progress_bar(range(len(dataset)), "poses")]
    errors = [_rotation_error(pose, dataset[index]) for index, pose in enumerate(found) if pose is not None]
    index = _largest(dataset)
    sample, scene = dataset[index], dataset.source[int(dataset.table.scene[index])]
    shown = _shown_truth(sample, _PATCH)
    count = len(dataset.templates.store.poses(sample.obj_id))
    report.section("An object and a template of it")
    report.text(
        f"A made-up object and {count} rendered templates of it. Of every patch of a picture the model names the patch "
        "of a template that shows the same surface, or none; inside a pair of patches a flow says where each pixel of "
        "the template is seen. Here is the ground truth that it learns from, by the flow_gt kernel from depth and "
        "poses, and the pose that follows from it."
    )
    report.numbers(
        [
            (f"{int(shown.matched.sum())} of {int((shown.state >= 0).sum())}", "patches see this template"),
            (_median(errors), "median rotation error from true matches"),
            (f"{len(errors)} of {len(found)}", "held-out objects with a pose"),
        ]
    )
    report.figure(
        pictures.correspondence_picture(sample.query, sample.templates.select(0), shown),
        "Above: a patch of the picture has the colour of the place that it shows in the template; hatched patches "
        "see nothing of it. Below: one pair, pixel by pixel.",
    )
    pose, mesh = found[index], dataset.models.mesh(sample.obj_id)
    if pose is not None:
        report.figure(
            pictures.overlay_picture(scene.rgb, mesh, scene.K, pose, truth=sample.query.cam_from_obj),
            "The pose from true matches with four templates, by RANSAC and weighted least squares.",
        )


def _median(errors: list[float]) -> str:
    return f"{torch.tensor(errors).median():.3f}°" if errors else "-"


def training_page(
    report: Report, folder: Path, run: Path, epochs: int | None, task: PoseTask = _TASK
) -> None:
    """Train the tiny preset on the data of `match_page`, and judge it on held-out pictures against blind guesses."""
    train, held_out = folder / "train", folder / "held_out"
    count = task.epochs if epochs is None else epochs
    options = {
        **_OPTIONS,
        "data.source": train,
        "trainer.default_root_dir": run,
        "trainer.max_epochs": count,
        "trainer.check_val_every_n_epoch": count,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    trained = run_training(["--config", "tiny", *arguments, "--fresh"], reports=False)
    model = load_run(run)
    dataset = _samples(train, held_out, model.spec.encoder.image_size)
    result = estimate_dataset(model, dataset, _JUDGING, workers=available_cores())
    report.section("Poses of pictures that training has not seen")
    _tell_training(report, trained, len(dataset), task)
    _tell_result(report, result, dataset, ModelSet(train))
    names = ("train/total", "train/acc_seen")
    report.figure(
        training_curves(read_curves(trained.folder, names), "value"),
        "The loss and the accuracy over the steps.",
    )
    _show_prediction(report, model, dataset[_largest(dataset)])


def _tell_training(report: Report, trained: TrainingRun, num_judged: int, task: PoseTask) -> None:
    report.text(
        f"The tiny preset, made smaller, with random weights, trained for {trained.seconds:.0f} s on "
        f"{trained.num_training} crops of this one object, turned by up to {task.max_inplane_deg:.0f} degrees about "
        "the line of sight, by the losses of classes and flow alone: a small task, so that a minute can show learning. "
        "`refkp train pose` trains on many objects at any angle. It is judged on "
        f"{num_judged} crops of other pictures of the object, choosing among all templates; their true visible masks "
        "stand for a detector. Every crop gets the pose that most matches agree with, however few, and one without any "
        "counts as infinitely wrong."
    )
    rows = [(title, f"{old:.4f}", f"{new:.4f}") for title, old, new in reported_values(trained, POSE)]
    report.table(("held out of the training pictures", "before", "after"), rows)


def _tell_result(report: Report, result: RunResult, dataset: PoseDataset, models: ModelSet) -> None:
    """Numbers against chance and blind guesses, and the pose that the model is surest of on its picture."""
    shown = map(dataset.source.__getitem__, range(len(dataset.source)))
    scenes: dict[tuple[int, int], Scene] = {scene.key: scene for scene in shown}
    scores = evaluate_estimates(scenes.values(), result.estimates, object_models(models, models.obj_ids))
    values = summary(scores, result)
    report.numbers(
        [
            (f"{100 * result.accuracy.seen:.1f} %", "of the patches find their partner"),
            (f"{100 * result.accuracy.chance:.1f} %", "by chance"),
            (
                _share(item.rotation_deg < _NEAR_DEG for item in scores.found),
                f"of the poses within {_NEAR_DEG:.0f}°",
            ),
            (_share(_near_templates(dataset, scenes.values())), "of the templates"),
            (_degrees(values["median_rotation_deg"]), "median rotation error"),
            (_degrees(result.random_template_deg), "of a random template"),
            (_degrees(result.nearest_template_deg), f"of the nearest of {result.num_drawn} random ones"),
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


def _near_templates(dataset: PoseDataset, scenes: Iterable[Scene]) -> list[bool]:
    """Of every template of every target: whether it shows the right view, so that a blind guess would be right."""
    near: list[bool] = []
    for instance in (instance for scene in scenes for instance in scene.instances):
        poses = dataset.templates.store.poses(instance.obj_id)
        errors = pose_errors(poses, instance.cam_from_obj.expand_as(poses))
        near += (errors.rotation_deg < _NEAR_DEG).tolist()
    return near


def _share(right: Iterable[bool]) -> str:
    return f"{100 * mean(right):.0f} %"


def _degrees(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}°"


def _samples(train: Path, held_out: Path, size: int) -> PoseDataset:
    """The held-out crops with the templates that training uses."""
    source, store = open_source(held_out), TemplateStore(train / "templates")
    spec = SampleSpec()
    table = tabulate_instances(source, store.obj_ids, spec.min_visible)
    return PoseDataset(source, table, TemplateCache(store, size), ModelSet(train), spec)


def _from_true_matches(sample: PoseSample) -> Tensor | None:
    """The pose [4,4] that the true matches with the templates near the view give; None: no pose."""
    chosen = sample.templates.select(sample.is_positive)
    bank = TemplateBank(torch.zeros(len(chosen.depth), 0, 0), chosen.depth, chosen.K, chosen.cam_from_obj)
    task = Task(sample.query, bank, PatchGrid(*patch_grid(sample.query.size, _PATCH), _PATCH))
    found = estimate_pose(TargetPredictor(sample.query, chosen, _PATCH), task)
    return found.cam_from_obj if isinstance(found, PoseEstimate) else None


def _rotation_error(pose: Tensor, sample: PoseSample) -> float:
    return pose_errors(pose[None], sample.query.cam_from_obj[None]).rotation_deg.item()


def _shown_truth(sample: PoseSample, patch_size: int) -> pictures.ShownMatches:
    """The true matches with the first template."""
    batch = collate([sample])
    return pictures.shown_targets(pose_targets(batch.query, batch.templates, patch_size), 0, 0)


def _show_prediction(report: Report, model: Vpog, sample: PoseSample) -> None:
    """What the model says of the nearest template, beside the truth."""
    bank = build_bank(model, sample.templates)
    said = ModelPredictor(model, bank, sample.query).together(torch.arange(bank.num_templates))
    truth = _shown_truth(sample, model.spec.encoder.patch_size)
    shown = pictures.shown_prediction(said.logits[0], said.flow[0], said.scale[0], truth.state >= 0)
    right = (shown.partner == truth.partner) & shown.matched & truth.matched
    report.figure(
        pictures.correspondence_picture(sample.query, sample.templates.select(0), shown),
        f"The matches that the model names, {int(right.sum())} of {int(truth.matched.sum())} right, and its flow.",
    )
    report.figure(
        pictures.flow_picture(sample.query.size, {"the model's flow": shown, "true flow": truth}),
        "The displacement of each pixel of a partner within its patch, in one scale; grey: not seen, or not trusted.",
    )


def _largest(dataset: PoseDataset) -> int:
    """The crop in which most of the picture is object."""
    return max(range(len(dataset)), key=lambda index: int(dataset[index].query.masks.sum()))
