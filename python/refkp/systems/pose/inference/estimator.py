"""The pose of an object in a crop, from its templates. Source: spec pose 6."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_finite
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.failure import EstimateFailure, no_consensus
from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.lifting import lift
from refkp.systems.pose.inference.matches import Matches, draw_by_weight
from refkp.systems.pose.inference.modes import (
    Evidence,
    ModeSpec,
    cluster_evidence,
    global_evidence,
    neighbours,
)
from refkp.systems.pose.inference.predictor import ModelPredictor, Predictor
from refkp.systems.pose.inference.ransac import PnPPose, RansacSpec, judge_pose, ransac_pnp
from refkp.systems.pose.inference.scoring import (
    Correspondences,
    Hypothesis,
    best_hypothesis,
    judge,
    merge_templates,
    supporting_templates,
)
from refkp.systems.pose.inference.solving import SolverSpec, WeightedPose, solve_weighted
from refkp.systems.pose.inference.support import patch_support
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.views import Views

SOLVERS = ("ransac", "epropnp")


@dataclass(frozen=True)
class EstimatorSpec:
    """How a pose is estimated.

    Args:
        modes: which templates are asked, and what a match is.
        solver: hypotheses by RANSAC over EPnP ("ransac", needs OpenCV), or by EPro-PnP from random subsets of
            the weighted matches ("epropnp").
        ransac: threshold of inliers, in pixels of the crop; samples and seed.
        refinement: the weighted least squares on the inliers that ends both, and gives the covariance.
        max_chance: a pose is none if more than this many random ones, of all that are tried, would find as much
            support (`patch_support`); infinity gives every pose away. With the usual 1, less than one pose that
            chance explains is to be expected per object.
        max_step_px: matches beside a depth edge of a template are dropped, see `lift`.
    """

    modes: ModeSpec = field(default_factory=ModeSpec)
    solver: str = "ransac"
    ransac: RansacSpec = field(default_factory=RansacSpec)
    refinement: SolverSpec = field(default_factory=SolverSpec)
    max_step_px: float = 10.0
    max_chance: float = 1.0

    def __post_init__(self) -> None:
        require_choice("EstimatorSpec", "solver", self.solver, SOLVERS)


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
        spec: EstimatorSpec = EstimatorSpec(),
    ) -> None:
        self.model = model
        self.bank = bank
        self.spec = spec

    def estimate(self, query: Views, templates: Tensor | None = None) -> PoseEstimate | EstimateFailure:
        """The pose of the object in one crop.

        Args:
            query: a view without leading axes; its depth and pose are not read.
            templates: [k] int64, the templates to use in cluster mode; None: chosen by score.

        Returns:
            PoseEstimate; or EstimateFailure with the reason, never a pose without support.

        Raises:
            ValueError: a query that is not one view, or whose K or picture is not finite.
        """
        start = time.perf_counter()
        predictor = ModelPredictor(self.model, self.bank, query)
        rows, columns = self.model.grid
        grid = PatchGrid(rows, columns, query.size[0] // rows)
        return _timed(estimate_pose(predictor, self.bank, query, grid, self.spec, templates), start)


def estimate_pose(
    predictor: Predictor,
    bank: TemplateBank,
    query: Views,
    grid: PatchGrid,
    spec: EstimatorSpec = EstimatorSpec(),
    templates: Tensor | None = None,
) -> PoseEstimate | EstimateFailure:
    """The same with anyone as the predictor, the ground truth say; arguments as in `PoseEstimator.estimate`."""
    start = time.perf_counter()
    _check(query, templates, bank, spec)
    on_object = grid.centre_pixels(query.masks.cpu())
    if not bool(on_object.any()):
        text = "no patch of the query has its centre on the mask; give a mask or a box of the visible object."
        return EstimateFailure("empty_mask", text)
    poses, modes, num_tried = bank.cam_from_obj, spec.modes, 0
    if modes.asks_all and templates is None:
        evidence = global_evidence(predictor, poses, on_object, grid, modes)
        best = _best(evidence, bank, query, grid.patch_size, spec)
        if modes.mode == "global" or isinstance(best, EstimateFailure):
            return _timed(_estimate(best, query, grid.patch_size, spec), start)
        templates, num_tried = neighbours(poses, best.templates[0], modes.num_templates), best.num_tried
    evidence = cluster_evidence(predictor, poses, on_object, grid, modes, templates)
    best = _best(evidence, bank, query, grid.patch_size, spec, num_tried)
    return _timed(_estimate(best, query, grid.patch_size, spec), start)


def correspondences(evidence: Evidence, bank: TemplateBank, spec: EstimatorSpec) -> Correspondences:
    """The matches whose template pixel has a trustworthy depth, at most `max_count` of each template."""
    lifted = lift(
        evidence.matches.template_uv,
        evidence.matches.template,
        bank.depth,
        bank.K,
        bank.cam_from_obj,
        max_step_px=spec.max_step_px,
    )
    generator = torch.Generator().manual_seed(spec.ransac.seed)
    valid = lifted.valid.nonzero()[:, 0]
    kept = []
    for template in evidence.ranking.templates.tolist():
        mine = valid[evidence.matches.template[valid] == template]
        weight = evidence.matches.weight[mine] * evidence.matches.score[mine]
        kept.append(mine[draw_by_weight(weight, spec.modes.matching.max_count, generator)])
    index = torch.cat(kept)
    return Correspondences(evidence.matches.select(index), lifted.points[index], lifted.num_dropped)


def _check(query: Views, templates: Tensor | None, bank: TemplateBank, spec: EstimatorSpec) -> None:
    if query.masks.dim() != 2:
        fail("estimate_pose", "query", "one view without leading axes", f"masks {list(query.masks.shape)}")
    require_finite("estimate_pose", "query.K", query.K)
    require_finite("estimate_pose", "query.images", query.images)
    if templates is None:
        return
    if spec.modes.mode != "cluster":
        fail("estimate_pose", "templates", "None in global mode, which asks all", list(templates.shape))
    if len(templates) == 0 or int(templates.min()) < 0 or int(templates.max()) >= bank.num_templates:
        fail("estimate_pose", "templates", f"indices in 0..{bank.num_templates - 1}", templates.tolist())


class _Best(NamedTuple):
    """The best hypothesis, and what it is judged by."""

    hypothesis: Hypothesis
    found: Correspondences  # of the templates that support it most
    templates: list[int]  # those, the most supporting one first
    num_tried: int  # hypotheses that it is the best of


def _best(
    evidence: Evidence,
    bank: TemplateBank,
    query: Views,
    patch_size: int,
    spec: EstimatorSpec,
    num_tried: int = 0,
) -> _Best | EstimateFailure:
    """A hypothesis of each template, the best of them, and the pose that its supporters give together.

    `num_tried` hypotheses of an earlier pass count for the test against chance.
    """
    K, threshold = query.K.cpu(), spec.ransac.threshold_px
    found, templates = correspondences(evidence, bank, spec), evidence.ranking.templates.tolist()

    def solve(some: Correspondences) -> PnPPose | EstimateFailure:
        return _hypothesis(some, K, patch_size, spec)

    best = best_hypothesis(found, templates, solve, K, threshold)
    if isinstance(best, EstimateFailure):
        return best
    kept = supporting_templates(found, best.pose, templates)[: spec.modes.num_templates]
    if len(kept) < len(templates):
        best = merge_templates(found, kept, best, solve, K, threshold)
        found = found.of_templates(kept)
    return _Best(best, found, kept, num_tried + len(templates) + 1)


def _estimate(
    best: _Best | EstimateFailure, query: Views, patch_size: int, spec: EstimatorSpec
) -> PoseEstimate | EstimateFailure:
    """Weighted least squares on the inliers of the best hypothesis, and the test against chance."""
    if isinstance(best, EstimateFailure):
        return best
    K, found, pose = query.K.cpu(), best.found, best.hypothesis.pose
    refined = _weighted(found.select(pose.inliers), K, patch_size, spec, start=pose.cam_from_obj)
    if isinstance(refined, EstimateFailure):
        return refined
    final = judge(found, refined.cam_from_obj, K, spec.ransac.threshold_px)
    if not _is_supported(found, final.pose, best.num_tried, query, spec):
        return no_consensus(final.pose.num_inliers, len(found.points))
    return PoseEstimate(
        refined.cam_from_obj,
        refined.covariance,
        final.score,
        final.pose.num_inliers,
        supporting_templates(found, final.pose, best.templates)[0],
        found.matches.select(final.pose.inliers),
        0.0,
        len(found.points),
        final.median_px,
        found.num_dropped,
    )


def _hypothesis(
    found: Correspondences, K: Tensor, patch_size: int, spec: EstimatorSpec
) -> PnPPose | EstimateFailure:
    if spec.solver == "ransac":
        return ransac_pnp(found.points, found.matches.query_uv, K, spec.ransac)
    solved = _weighted(found, K, patch_size, spec, start=None)
    if isinstance(solved, EstimateFailure):
        return solved
    pose = judge_pose(solved.cam_from_obj, found.points, found.matches.query_uv, K, spec.ransac.threshold_px)
    if not _has_inliers(pose, spec):
        return no_consensus(pose.num_inliers, len(found.points))
    return pose


def _has_inliers(pose: PnPPose, spec: EstimatorSpec) -> bool:
    return pose.num_inliers >= min(spec.ransac.min_inliers, len(pose.inliers))


def _is_supported(
    found: Correspondences, pose: PnPPose, num_tried: int, query: Views, spec: EstimatorSpec
) -> bool:
    """Whether enough matches agree, of more query patches than chance would explain."""
    support = patch_support(
        found.matches,
        pose.inliers,
        area_px=float(query.masks.sum()),
        threshold_px=spec.ransac.threshold_px,
        num_tests=spec.ransac.iterations * num_tried,
    )
    return _has_inliers(pose, spec) and support.chance <= spec.max_chance


def _weighted(
    found: Correspondences, K: Tensor, patch_size: int, spec: EstimatorSpec, *, start: Tensor | None
) -> WeightedPose | EstimateFailure:
    """A match weighs its probability over the scale of its error in pixels."""
    weight = found.matches.weight * found.matches.score / patch_size
    uv = found.matches.query_uv
    return solve_weighted(
        found.points, uv, weight, K, start=start, spec=spec.refinement, seed=spec.ransac.seed
    )


def _timed(found: PoseEstimate | EstimateFailure, start: float) -> PoseEstimate | EstimateFailure:
    """With the seconds since `start`."""
    return (
        found if isinstance(found, EstimateFailure) else found._replace(seconds=time.perf_counter() - start)
    )
