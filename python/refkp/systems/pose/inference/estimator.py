"""The pose of an object in a crop, from its templates. Source: spec pose 6.

ask           the predictor which pixels of the templates the query shows
lift          them to points of the object
hypothesise   poses from the matches of each template, of which the best is kept
refine        it by weighted least squares
judge         how probable it is that it is right; a pose that is probably wrong is not given
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.confidence import SIGMA_SCALE, confidence
from refkp.systems.pose.inference.failure import EstimateFailure, no_consensus, uncertain
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.lifting import lift
from refkp.systems.pose.inference.matches import Matches, draw_by_weight
from refkp.systems.pose.inference.modes import Evidence, ask, neighbours
from refkp.systems.pose.inference.outline import Outline, outline_match
from refkp.systems.pose.inference.predictor import ModelPredictor, Predictor
from refkp.systems.pose.inference.ransac import PnPPose, judge_pose, ransac_pnp
from refkp.systems.pose.inference.scoring import (
    Correspondences,
    Hypothesis,
    best_hypothesis,
    judge,
    merge_templates,
    supporting_templates,
)
from refkp.systems.pose.inference.solving import WeightedPose, solve_weighted
from refkp.systems.pose.inference.spec import EstimatorSpec
from refkp.systems.pose.inference.support import Support, patch_support
from refkp.systems.pose.inference.task import Task
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.views import Views


class PoseEstimate(NamedTuple):
    """A pose with its evidence."""

    cam_from_obj: Tensor  # float64 [4,4], millimetres
    covariance: Tensor  # float64 [6,6] of (translation in mm, rotation vector in rad), camera frame
    score: float  # match scores of the inliers over those of all matches, in [0,1]
    num_inliers: int
    template_index: int  # the template that supports the pose most
    matches: Matches  # the inliers
    seconds: float  # for this object
    num_matches: int  # that had a 3D point, outliers included
    median_px: float  # reprojection error of the inliers, pixels of the crop
    num_dropped: int  # matches without a trustworthy template depth, which take no part
    confidence: float  # probability in (0,1) that the rotation is right, see `inference.confidence`
    support: Support  # the patches that agree
    outline: Outline  # how the object at this pose covers the mask

    @property
    def uncertainty(self) -> WeightedPose:
        """The pose with its covariance, as one and with standard deviations."""
        return WeightedPose(self.cam_from_obj, self.covariance)


class PoseEstimator:
    """A model, the templates of one object, and how they are used."""

    def __init__(
        self,
        model: Vpog,
        bank: TemplateBank,
        spec: EstimatorSpec = EstimatorSpec(),  # noqa: B008 (frozen)
    ) -> None:
        self.model = model
        self.bank = bank
        self.spec = spec

    def estimate(self, query: Views, templates: Tensor | None = None) -> PoseEstimate | EstimateFailure:
        """The pose of the object in one crop; arguments and errors as of `Task`."""
        rows, columns = self.model.grid
        grid = PatchGrid(rows, columns, query.size[0] // rows)
        task = Task(query, self.bank, grid, self.spec, templates)
        return estimate_pose(ModelPredictor(self.model, self.bank, query), task)


def estimate_pose(predictor: Predictor, task: Task) -> PoseEstimate | EstimateFailure:
    """The pose of an object in a crop, with anyone as the predictor: a model, or the ground truth.

    Returns:
        PoseEstimate; or EstimateFailure with the reason, never a pose without support.
    """
    start = time.perf_counter()
    if not bool(task.on_object.any()):
        text = "no patch of the query has its centre on the mask; give a mask or a box of the visible object."
        return EstimateFailure("empty_mask", text)
    best = _best(predictor, task)
    if task.asks_all and task.spec.modes.mode == "cluster" and not isinstance(best, EstimateFailure):
        around = neighbours(task.bank.cam_from_obj, best.templates[0], task.spec.modes.num_templates)
        task = replace(task, templates=around)
        best = _best(predictor, task)
    if isinstance(best, EstimateFailure):
        return best
    refined = _weighted(best.found.select(best.hypothesis.pose.inliers), best.hypothesis.pose, task)
    if isinstance(refined, EstimateFailure):
        return refined
    return _judged(best, refined, task, start)


class _Best(NamedTuple):
    """The best hypothesis, and what it is judged by."""

    hypothesis: Hypothesis
    found: Correspondences  # of the templates that support it most
    templates: list[int]  # those, the most supporting one first


def _best(predictor: Predictor, task: Task) -> _Best | EstimateFailure:
    """Ask, lift, hypothesise: a pose of each template, the best of them, and what its supporters give together."""
    evidence = ask(predictor, task)
    found, templates = _lifted(evidence, task), evidence.ranking.templates.tolist()
    solve, K, threshold = partial(_hypothesis, task=task), task.query.K.cpu(), task.spec.ransac.threshold_px
    best = best_hypothesis(found, templates, solve, K, threshold)
    if isinstance(best, EstimateFailure):
        return best
    kept = supporting_templates(found, best.pose, templates)[: task.spec.modes.num_templates]
    if len(kept) < len(templates):
        best = merge_templates(found, kept, best, solve, K, threshold)
        found = found.of_templates(kept)
    return _Best(best, found, kept)


def _lifted(evidence: Evidence, task: Task) -> Correspondences:
    """The matches whose template pixel has a trustworthy depth, at most `max_count` of each template."""
    matches, bank, spec = evidence.matches, task.bank, task.spec
    points = lift(
        matches.template_uv,
        matches.template,
        bank.depth,
        bank.K,
        bank.cam_from_obj,
        max_step_px=spec.max_step_px,
    )
    generator = torch.Generator().manual_seed(spec.ransac.seed)
    valid = points.valid.nonzero()[:, 0]
    kept = []
    for template in evidence.ranking.templates.tolist():
        mine = valid[matches.template[valid] == template]
        weight = matches.weight[mine] * matches.score[mine]
        kept.append(mine[draw_by_weight(weight, spec.modes.matching.max_count, generator)])
    index = torch.cat(kept)
    return Correspondences(matches.select(index), points.points[index], points.num_dropped)


def _hypothesis(found: Correspondences, task: Task) -> PnPPose | EstimateFailure:
    """A pose of some matches, by the solver that is asked for."""
    uv, K, ransac = found.matches.query_uv, task.query.K.cpu(), task.spec.ransac
    if task.spec.solver == "ransac":
        return ransac_pnp(found.points, uv, K, ransac)
    solved = _weighted(found, None, task)
    if isinstance(solved, EstimateFailure):
        return solved
    pose = judge_pose(solved.cam_from_obj, found.points, uv, K, ransac.threshold_px)
    return pose if _has_inliers(pose, task) else no_consensus(pose.num_inliers, len(found.points))


def _weighted(found: Correspondences, start: PnPPose | None, task: Task) -> WeightedPose | EstimateFailure:
    """Least squares from a pose, or from random subsets; a match weighs its probability over the scale of its
    error in pixels.
    """
    return solve_weighted(
        found.points,
        found.matches.query_uv,
        found.matches.weight * found.matches.score / task.grid.patch_size,
        task.query.K.cpu(),
        found.matches.query_patch,
        start=None if start is None else start.cam_from_obj,
        spec=task.spec.refinement,
        seed=task.spec.ransac.seed,
    )


def _judged(best: _Best, refined: WeightedPose, task: Task, start: float) -> PoseEstimate | EstimateFailure:
    """The refined pose with its evidence, if there is enough of it; `start` is when the clock began."""
    found, K, mask = best.found, task.query.K.cpu(), task.query.masks.cpu()
    final = judge(found, refined.cam_from_obj, K, task.spec.ransac.threshold_px)
    if not _has_inliers(final.pose, task):
        return no_consensus(final.pose.num_inliers, len(found.points))
    support = patch_support(found.matches, final.pose.inliers, mask, task.grid)
    outline = outline_match(task.bank, refined.cam_from_obj, K, mask)
    probability = confidence(support, outline)
    if probability < task.spec.min_confidence:
        return uncertain(probability, support, outline)
    return PoseEstimate(
        refined.cam_from_obj,
        SIGMA_SCALE**2 * refined.covariance,
        final.score,
        final.pose.num_inliers,
        supporting_templates(found, final.pose, best.templates)[0],
        found.matches.select(final.pose.inliers),
        time.perf_counter() - start,
        len(found.points),
        final.median_px,
        found.num_dropped,
        probability,
        support,
        outline,
    )


def _has_inliers(pose: PnPPose, task: Task) -> bool:
    return pose.num_inliers >= min(task.spec.ransac.min_inliers, len(pose.inliers))
