"""A model on every object of a set of pictures: estimates, failures, and what a guess would be worth."""

from __future__ import annotations

import functools
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp._progress import progress_bar
from refkp.systems.pose.data.dataset import PoseDataset, PoseSample, collate
from refkp.systems.pose.data.models import ModelSet
from refkp.systems.pose.inference.bank import FeatureCache, TemplateBank, build_bank
from refkp.systems.pose.inference.estimator import PoseEstimate, PoseEstimator
from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.inference.spec import EstimatorSpec
from refkp.systems.pose.metrics.baselines import random_template_errors
from refkp.systems.pose.metrics.csv import Estimate
from refkp.systems.pose.metrics.evaluation import Evaluation, ObjectModel, Recalls
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.scene import PictureKey
from refkp.systems.pose.symmetry import symmetry_transforms
from refkp.systems.pose.targets import TargetSpec, pose_targets


@dataclass(frozen=True)
class RunSpec:
    """How a model is judged.

    Args:
        estimator: how poses are estimated.
        targets: how the true patch labels are decided.
        seed: of the random templates of the baselines.
    """

    estimator: EstimatorSpec = field(default_factory=EstimatorSpec)
    targets: TargetSpec = field(default_factory=TargetSpec)
    seed: int = 0


class PatchAccuracy(NamedTuple):
    """How often the most probable class of a query patch is its label, given templates near the true view."""

    seen: float  # of patches whose label is a template patch; NaN if there is none, as without depth
    overall: float  # "unseen" included
    chance: float  # of a guess among all classes


class RunResult(NamedTuple):
    """What a model said about every sample of a data set."""

    estimates: tuple[Estimate, ...]
    failures: Mapping[str, int]  # reason -> how often there was no pose
    accuracy: PatchAccuracy
    random_template_deg: float  # median rotation error of a template drawn blindly
    nearest_template_deg: float  # the same of the nearest of `num_drawn`
    num_drawn: int


def estimate_dataset(
    model: Vpog,
    dataset: PoseDataset,
    spec: RunSpec = RunSpec(),
    *,
    workers: int = 1,
) -> RunResult:
    """Estimate the pose of every sample from its crop and the templates of its object.

    The boxes and masks of the samples are the true visible ones, so detection is not judged. The depth of a
    query serves its labels alone; the estimator does not read it.

    Args:
        model: in evaluation mode, on the device to use.
        dataset: the samples, without augmentation or jitter.
        spec: how.
        workers: samples that are worked on at a time, each by one thread. It changes nothing but the time.

    Returns:
        RunResult; the time of a picture is that of all its samples.

    Raises:
        ValueError: no workers.
    """
    if workers < 1:
        fail("estimate_dataset", "workers", "at least 1", workers)
    answer = functools.partial(_answer, model, spec=spec)
    questions = progress_bar(_questions(model, dataset), "estimating poses", len(dataset))
    with _one_thread_each():
        answers = list(_in_threads(answer, questions, workers))
    num_drawn = min(spec.estimator.modes.num_templates, *(len(answer.templates) for answer in answers))
    drawn = [
        _drawn_errors(answers, count, torch.Generator().manual_seed(spec.seed)) for count in (1, num_drawn)
    ]
    failures = Counter(answer.found.reason for answer in answers if isinstance(answer.found, EstimateFailure))
    return RunResult(
        _rows(answers),
        dict(failures),
        _accuracy(answers, model.grid),
        drawn[0].median().item(),
        drawn[1].median().item(),
        num_drawn,
    )


def object_models(models: ModelSet, obj_ids: Iterable[int]) -> dict[int, ObjectModel]:
    """Meshes, sizes and symmetries of some objects, as the metrics take them."""
    table = {}
    for obj_id in obj_ids:
        info = models.info(obj_id)
        symmetries = symmetry_transforms(info.symmetries_discrete, info.symmetries_continuous)
        table[obj_id] = ObjectModel(models.mesh(obj_id), info.diameter, symmetries)
    return table


def summary(evaluation: Evaluation, run: RunResult | None = None) -> dict[str, Any]:
    """All numbers by name, ready for JSON: what is not known is None.

    A median is over all targets, one without an estimate being infinitely wrong; None where most have none.
    """
    found = evaluation.found
    medians = {
        f"median_{name}": _median([getattr(item, name) for item in found])
        for name in ("rotation_deg", "translation", "plain_rotation_deg", "plain_translation")
    }
    values: dict[str, Any] = {
        **_recall_values(evaluation.total),
        "objects": {str(obj_id): _recall_values(row) for obj_id, row in evaluation.objects.items()},
        "num_estimated": sum(item.estimated for item in found),
        **medians,
    }
    if run is not None:
        values |= {
            "failures": dict(run.failures),
            **{f"patch_accuracy_{name}": _known(value) for name, value in run.accuracy._asdict().items()},
            "random_template_deg": run.random_template_deg,
            "nearest_template_deg": run.nearest_template_deg,
            "num_templates_drawn": run.num_drawn,
        }
    return values


class _Answer(NamedTuple):
    """What a model said about one sample, and what is true of it."""

    picture: PictureKey
    obj_id: int
    found: PoseEstimate | EstimateFailure
    seconds: float  # of a failure, too
    hits: Tensor  # [2,2] of `_patch_hits`
    truth: Tensor  # [4,4]
    templates: Tensor  # [n,4,4], poses of the templates of the object


class _Question(NamedTuple):
    """A sample and the templates of its object."""

    picture: PictureKey
    sample: PoseSample
    bank: TemplateBank


def _questions(model: Vpog, dataset: PoseDataset) -> Iterator[_Question]:
    """Every sample; the templates of an object are encoded once."""
    banks = FeatureCache()
    for number in range(len(dataset)):
        sample = dataset[number]
        bank = banks.get(sample.obj_id, functools.partial(_bank, model, dataset, sample.obj_id))
        yield _Question(dataset.source.keys[int(dataset.table.scene[number])], sample, bank)


def _answer(model: Vpog, question: _Question, spec: RunSpec) -> _Answer:
    sample, bank = question.sample, question.bank
    start = time.perf_counter()
    found = PoseEstimator(model, bank, spec.estimator).estimate(sample.query)
    return _Answer(
        question.picture,
        sample.obj_id,
        found,
        time.perf_counter() - start,
        _patch_hits(model, sample, spec.targets),
        sample.query.cam_from_obj,
        bank.cam_from_obj,
    )


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """One thread for each operator, so that sums have one order whatever the number of workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_threads(
    answer: Callable[[_Question], _Answer], questions: Iterable[_Question], workers: int
) -> Iterator[_Answer]:
    """The answers in the order of the questions, which are read here, and not far ahead."""
    pending: deque[Future[_Answer]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for question in questions:
            pending.append(pool.submit(answer, question))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _bank(model: Vpog, dataset: PoseDataset, obj_id: int) -> TemplateBank:
    count = len(dataset.templates.store.poses(obj_id))
    return build_bank(model, dataset.templates.views(obj_id, torch.arange(count)))


@torch.inference_mode()
def _patch_hits(model: Vpog, sample: PoseSample, spec: TargetSpec) -> Tensor:
    """[2,2]: (right, all) of the patches that see a template, and of all on the object."""
    batch = collate([sample])
    device = next(model.parameters()).device
    output = model(batch.to(device))
    targets = pose_targets(batch.query, batch.templates, model.spec.encoder.patch_size, spec)
    positive = batch.is_positive[0]
    right = (output.logits.argmax(-1).cpu() == targets.labels)[0, positive]
    counted = (targets.has_partner[0, positive], targets.labels[0, positive] >= 0)
    return torch.tensor([[(right & some).sum().item(), some.sum().item()] for some in counted])


def _accuracy(answers: Sequence[_Answer], grid: tuple[int, int]) -> PatchAccuracy:
    hits = torch.stack([answer.hits for answer in answers]).sum(0)
    seen, overall = (hits[:, 0] / hits[:, 1]).tolist()  # 0 / 0 is NaN
    return PatchAccuracy(seen, overall, 1 / (grid[0] * grid[1] + 1))


def _drawn_errors(answers: Sequence[_Answer], count: int, generator: torch.Generator) -> Tensor:
    """[n]: sample by sample, since objects may have different numbers of templates."""
    return torch.cat(
        [random_template_errors(answer.truth[None], answer.templates, count, generator) for answer in answers]
    )


def _rows(answers: Sequence[_Answer]) -> tuple[Estimate, ...]:
    """The poses as rows, with the seconds of their pictures."""
    seconds: dict[PictureKey, float] = defaultdict(float)
    for answer in answers:
        seconds[answer.picture] += answer.seconds
    rows = []
    for answer in answers:
        if isinstance(answer.found, PoseEstimate):
            pose = answer.found.cam_from_obj
            R, t, total = pose[:3, :3], pose[:3, 3], seconds[answer.picture]
            rows.append(Estimate(*answer.picture, answer.obj_id, answer.found.confidence, R, t, total))
    return tuple(rows)


def _recall_values(recalls: Recalls) -> dict[str, Any]:
    return {
        "num_targets": recalls.num_targets,
        "ar_vsd": _known(recalls.vsd),
        "ar_mssd": recalls.mssd,
        "ar_mspd": recalls.mspd,
        "ar": _known(recalls.mean),
    }


def _median(values: list[float]) -> float | None:
    middle = torch.tensor(values, dtype=torch.float64).median().item() if values else torch.inf
    return None if math.isinf(middle) else middle


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
