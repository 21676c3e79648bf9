"""Hypotheses are judged by the matches of all templates, and the best one wins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.geometry.cameras import project
from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.inference.matches import Matches
from refkp.systems.pose.inference.ransac import PnPPose, judge_pose
from refkp.systems.pose.inference.scoring import (
    Correspondences,
    best_hypothesis,
    judge,
    supporting_templates,
)

K = torch.tensor([[300.0, 0.0, 112.0], [0.0, 300.0, 112.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
FAILURE = EstimateFailure("no_consensus", "nothing agrees")


def shifted(x_mm: float) -> Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = torch.tensor([x_mm, 0.0, 300.0])  # one millimetre is one pixel
    return pose


def correspondences() -> Correspondences:
    """Template 0: 6 matches of the pose at x = 0; template 1: 4 of the pose at x = 50, twice as probable."""
    points = 20 * torch.randn(10, 3, dtype=torch.float64)
    template = torch.tensor([0] * 6 + [1] * 4)
    poses = [shifted(0.0)] * 6 + [shifted(50.0)] * 4
    uv = torch.stack(
        [
            project(point[None], K, pose[:3, :3], pose[:3, 3]).uv[0]
            for point, pose in zip(points, poses, strict=True)
        ]
    )
    score = torch.tensor([0.4] * 6 + [0.8] * 4)
    return Correspondences(
        Matches(template, uv.float(), torch.zeros(10, 2), torch.ones(10), score, torch.arange(10)), points
    )


def posed(found: Correspondences, pose: Tensor) -> PnPPose:
    return judge_pose(pose, found.points, found.matches.query_uv, K, 5.0)


def test_the_score_is_the_agreeing_share_of_the_match_scores() -> None:
    found = correspondences()
    assert judge(found, shifted(0.0), K, 5.0).score == pytest.approx(2.4 / 5.6)
    assert judge(found, shifted(50.0), K, 5.0).score == pytest.approx(3.2 / 5.6)
    nothing = judge(found, shifted(1000.0), K, 5.0)
    assert (nothing.score, nothing.median_px) == (0.0, torch.inf)


def test_more_probable_matches_win_over_more_matches() -> None:
    found = correspondences()

    def solve(some: Correspondences) -> PnPPose:
        return posed(some, shifted(50.0 if bool((some.matches.template == 1).all()) else 0.0))

    best = best_hypothesis(found, [0, 1], solve, K, 5.0)
    assert not isinstance(best, EstimateFailure)
    assert torch.equal(best.pose.cam_from_obj, shifted(50.0))
    assert best.pose.inliers.tolist() == [False] * 6 + [True] * 4
    assert supporting_templates(found, best.pose, [0, 1]) == [1, 0]


def test_equal_scores_are_told_apart_by_the_error() -> None:
    found = correspondences()

    def solve(some: Correspondences) -> PnPPose:
        return posed(some, shifted(49.0 if bool((some.matches.template == 1).all()) else 50.0))

    best = best_hypothesis(found, [0, 1], solve, K, 5.0)
    assert not isinstance(best, EstimateFailure)
    assert torch.equal(best.pose.cam_from_obj, shifted(50.0))
    assert best.median_px < 0.01


def test_one_template_that_gives_a_pose_is_enough() -> None:
    found = correspondences()

    def solve(some: Correspondences) -> PnPPose | EstimateFailure:
        return posed(some, shifted(0.0)) if bool((some.matches.template == 0).all()) else FAILURE

    best = best_hypothesis(found, [0, 1], solve, K, 5.0)
    assert not isinstance(best, EstimateFailure)
    assert torch.equal(best.pose.cam_from_obj, shifted(0.0))


@pytest.mark.parametrize("templates", [[0], [0, 1]])
def test_no_pose_at_all_is_the_failure_of_all_matches(templates: list[int]) -> None:
    assert best_hypothesis(correspondences(), templates, lambda some: FAILURE, K, 5.0) == FAILURE
