"""The covariance of matches that err in groups: what leaving out a group does, and when there is none."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from refkp.geometry.pnp import (
    PnPProblem,
    PnPSpec,
    grouped_covariance,
    levenberg_marquardt,
    move_pose,
    pose_error,
)
from refkp.geometry.pnp.centring import centred_about, pose_about
from tests.support.pnp_scenes import nearby, problems

LONG = PnPSpec(iterations=15)
GROUPS = 12


def solved(noise_px: float = 0.5) -> tuple[PnPProblem, Tensor, Tensor]:
    """Problems of 12 groups of 4 matches, their solutions, and the groups."""
    problem, true = problems(3, 4 * GROUPS, noise_px=noise_px)
    group = torch.arange(GROUPS).repeat(4).expand(3, -1)  # the members of a group do not stand together
    return problem, levenberg_marquardt(problem, nearby(true), LONG).pose, group


def moves_without_each(problem: PnPProblem, pose: Tensor, group: Tensor) -> Tensor:
    """[G,B,6]: the local steps to the solutions that are found without one of the groups."""
    moves = []
    for left_out in range(GROUPS):
        weights = torch.where((group == left_out)[..., None], 0.0, problem.weights)
        other = levenberg_marquardt(dataclasses.replace(problem, weights=weights), pose, LONG).pose
        moves.append(local_step(pose, other))
    return torch.stack(moves)


def local_step(pose: Tensor, other: Tensor) -> Tensor:
    """The step that takes one pose to another near by, by Newton's method on `move_pose`."""
    step = torch.zeros(len(pose), 6, dtype=pose.dtype)
    for _ in range(3):
        jacobian = torch.stack(
            [
                (move_pose(pose, step + 1e-6 * axis) - move_pose(pose, step - 1e-6 * axis)) / 2e-6
                for axis in torch.eye(6)
            ],
            dim=-1,
        )
        step = (
            step + torch.linalg.lstsq(jacobian, (other - move_pose(pose, step))[..., None]).solution[..., 0]
        )
    assert float(pose_error(move_pose(pose, step), other).rotation.max()) < 1e-9
    return step


def test_it_is_the_spread_of_the_solutions_without_a_group() -> None:
    problem, pose, group = solved()
    moves = moves_without_each(problem, pose, group)
    moves = (moves - moves.mean(0)).movedim(0, -1)
    want = (GROUPS - 1) / GROUPS * moves @ moves.mT
    found = grouped_covariance(problem, pose, group, LONG)
    unit = want.diagonal(dim1=-2, dim2=-1).rsqrt()
    difference = (found - want) * unit[..., None] * unit[..., None, :]
    # To first order in the steps; half a pixel of noise leaves 1 %.
    assert float(difference.abs().max()) < 0.03


def test_the_weight_of_all_matches_together_plays_no_part() -> None:
    problem, pose, group = solved()
    heavier = dataclasses.replace(problem, weights=3 * problem.weights)
    torch.testing.assert_close(
        grouped_covariance(heavier, pose, group),
        grouped_covariance(problem, pose, group),
        rtol=1e-4,
        atol=0.0,
    )


def test_copies_of_matches_are_no_evidence_in_their_groups_and_some_outside() -> None:
    problem, pose, group = solved()
    twice = PnPProblem(
        *(tensor.repeat(1, 2, 1) for tensor in (problem.points, problem.pixels, problem.weights)), problem.K
    )
    once = grouped_covariance(problem, pose, group)
    torch.testing.assert_close(grouped_covariance(twice, pose, group.repeat(1, 2)), once, rtol=1e-3, atol=0.0)
    apart = grouped_covariance(twice, pose, torch.cat((group, group + GROUPS), 1))
    assert bool((apart.diagonal(dim1=-2, dim2=-1) < 0.7 * once.diagonal(dim1=-2, dim2=-1)).all())


def test_the_numbers_of_groups_and_the_order_of_matches_play_no_part() -> None:
    problem, pose, group = solved()
    order = torch.randperm(group.shape[1])
    shuffled = PnPProblem(
        problem.points[:, order], problem.pixels[:, order], problem.weights[:, order], problem.K
    )
    torch.testing.assert_close(
        grouped_covariance(shuffled, pose, 1000 - 7 * group[:, order]),
        grouped_covariance(problem, pose, group),
    )


def test_a_far_frame_has_the_same_turns() -> None:
    problem, pose, group = solved()
    centre = torch.tensor([30.0, -20.0, 50.0], dtype=torch.float64).expand(3, 3)
    far, moved = centred_about(problem, -centre), pose_about(pose, -centre)
    near = grouped_covariance(problem, pose, group)
    torch.testing.assert_close(
        grouped_covariance(far, moved, group)[:, 3:, 3:], near[:, 3:, 3:], rtol=1e-6, atol=0.0
    )


def test_one_group_or_one_that_everything_hangs_on_has_no_covariance() -> None:
    problem, pose, group = solved()
    assert bool(grouped_covariance(problem, pose, torch.zeros_like(group)).isnan().all())
    weights = torch.where((group == 0)[..., None], problem.weights, 0.0)
    lonely = dataclasses.replace(problem, weights=weights)  # matches without weight are of no group
    assert bool(grouped_covariance(lonely, pose, group).isnan().all())


def test_bad_groups_are_told() -> None:
    problem, pose, group = solved()
    for wrong, text in ((group[:, 1:], "group"), (group.float(), "int64"), (group - 1, "0 or more")):
        with pytest.raises(ValueError, match=text):
            grouped_covariance(problem, pose, wrong)
