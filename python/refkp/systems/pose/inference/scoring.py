"""Hypotheses of the pose, one per template and one of all matches; the best of them. Source: spec pose 6.3."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.inference.matches import Matches
from refkp.systems.pose.inference.ransac import PnPPose, judge_pose


class Correspondences(NamedTuple):
    """Matches whose template point was lifted to the object."""

    matches: Matches  # m of them
    points: Tensor  # float64 [m,3], millimetres in the object's frame
    num_dropped: int = 0  # matches left out because their template has no trustworthy depth there

    def of_template(self, template: int) -> Correspondences:
        """Those of one template."""
        return self.select(self.matches.template == template)

    def of_templates(self, templates: Sequence[int]) -> Correspondences:
        """Those of several templates."""
        return self.select(torch.isin(self.matches.template, torch.tensor(templates)))

    def select(self, index: Tensor) -> Correspondences:
        """Those at `index` (int64 or bool)."""
        return Correspondences(self.matches.select(index), self.points[index], self.num_dropped)


class Hypothesis(NamedTuple):
    """A pose, judged by all correspondences."""

    pose: PnPPose
    score: float  # match scores of the inliers over those of all matches, in [0,1]
    median_px: float  # median reprojection error of the inliers; infinite without any


Solve = Callable[[Correspondences], PnPPose | EstimateFailure]


def best_hypothesis(
    found: Correspondences, templates: Sequence[int], solve: Solve, K: Tensor, threshold_px: float
) -> Hypothesis | EstimateFailure:
    """The pose that agrees best with the matches of all templates.

    Each template gives a pose from its own matches, and all together give one more. All are judged by the same
    matches: first by the share of the match scores that agrees, then by the median error.

    Args:
        found: the matches of the templates, with their points.
        templates: which ones, best first.
        solve: a pose from correspondences.
        K: [3,3], of the query crop.
        threshold_px: largest error of an inlier, in pixels of the crop.

    Returns:
        Hypothesis; or the failure of all matches together, where no set gives a pose.
    """
    together = solve(found)
    poses = [] if isinstance(together, EstimateFailure) else [together]
    if len(templates) > 1:
        poses += list(_single_poses(found, templates, solve))
    if isinstance(together, EstimateFailure) and not poses:
        return together
    return max(
        (judge(found, pose.cam_from_obj, K, threshold_px) for pose in poses),
        key=_merit,
    )


def merge_templates(
    found: Correspondences,
    templates: Sequence[int],
    best: Hypothesis,
    solve: Solve,
    K: Tensor,
    threshold_px: float,
) -> Hypothesis:
    """The better of a hypothesis and the pose that the matches of `templates` give together, judged by these."""
    merged = found.of_templates(templates)
    judged = [judge(merged, best.pose.cam_from_obj, K, threshold_px)]
    together = solve(merged)
    if not isinstance(together, EstimateFailure):
        judged.append(judge(merged, together.cam_from_obj, K, threshold_px))
    return max(judged, key=_merit)


def judge(found: Correspondences, cam_from_obj: Tensor, K: Tensor, threshold_px: float) -> Hypothesis:
    """How well a pose [4,4] agrees with correspondences."""
    pose = judge_pose(cam_from_obj, found.points, found.matches.query_uv, K, threshold_px)
    scores = found.matches.score.double()
    score = float(scores[pose.inliers].sum() / scores.sum())
    errors = pose.error_px[pose.inliers]
    return Hypothesis(pose, score, float(errors.median()) if len(errors) else torch.inf)


def supporting_templates(found: Correspondences, pose: PnPPose, templates: Sequence[int]) -> list[int]:
    """Templates by the sum of match scores among the inliers of a pose, the largest first."""
    support = {
        template: float(found.matches.score[pose.inliers & (found.matches.template == template)].sum())
        for template in templates
    }
    return sorted(templates, key=lambda template: -support[template])


def _single_poses(found: Correspondences, templates: Sequence[int], solve: Solve) -> Iterator[PnPPose]:
    for template in templates:
        pose = solve(found.of_template(template))
        if not isinstance(pose, EstimateFailure):
            yield pose


def _merit(hypothesis: Hypothesis) -> tuple[float, float]:
    return hypothesis.score, -hypothesis.median_px
