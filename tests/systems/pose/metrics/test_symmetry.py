"""Symmetry transforms: identity first, small steps, both kinds combined; errors under them."""

from __future__ import annotations

import math

import pytest
import torch

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.geometry.sphere import random_rotation
from refkp.systems.pose.metrics.pose_errors import pose_errors
from refkp.systems.pose.symmetry import ContinuousSymmetry, symmetry_transforms

Z = torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64)


def flip() -> torch.Tensor:
    """Half a turn about x, [1,4,4]."""
    return torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))[None]


def test_identity_is_first_and_once() -> None:
    both = torch.cat((torch.eye(4, dtype=torch.float64)[None], flip()))
    for discrete in (flip(), both):
        transforms = symmetry_transforms(discrete)
        assert len(transforms) == 2
        assert torch.equal(transforms[0], torch.eye(4, dtype=torch.float64))


def test_no_surface_point_moves_more_than_the_step() -> None:
    offset = torch.tensor([30.0, -5.0, 7.0])
    turns = symmetry_transforms(continuous=[ContinuousSymmetry(Z, offset)], max_step=0.03)
    diameter = 2.0  # a point at half of it from the line
    point = torch.tensor([31.0, -5.0, 100.0, 1.0], dtype=torch.float64)
    path = turns @ point
    steps = torch.linalg.vector_norm(path - path.roll(1, 0), dim=-1)
    assert steps.max() <= 0.03 * diameter
    assert steps.max() > 0.027 * diameter  # no finer than asked for
    torch.testing.assert_close(turns @ torch.tensor([30.0, -5, 9, 1], dtype=torch.float64),
                               torch.tensor([30.0, -5, 9, 1], dtype=torch.float64).expand(len(turns), 4))  # fmt: skip


def test_turns_follow_discrete_transforms() -> None:
    turn = ContinuousSymmetry(Z, torch.tensor([1.0, 0, 0]))
    transforms = symmetry_transforms(flip(), [turn], max_step=0.5)
    alone = symmetry_transforms(continuous=[turn], max_step=0.5)
    assert len(transforms) == 2 * len(alone) == 2 * math.ceil(math.pi / 0.5)
    torch.testing.assert_close(transforms[1], flip()[0])
    torch.testing.assert_close(transforms[3], alone[1] @ flip()[0])


def test_errors_forgive_what_looks_alike() -> None:
    truth = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
    truth[:, :3, :3], truth[:, :3, 3] = random_rotation(5, generator=torch.Generator().manual_seed(0)), 100.0
    shifted_flip = flip()
    shifted_flip[0, :3, 3] = torch.tensor([0.0, 10, 0])
    tilt = torch.eye(4, dtype=torch.float64)
    tilt[:3, :3] = axis_angle_to_matrix(torch.tensor([0.0, math.radians(2), 0], dtype=torch.float64))
    estimate = truth @ shifted_flip @ tilt
    plain, fair = (
        pose_errors(estimate, truth),
        pose_errors(estimate, truth, symmetry_transforms(shifted_flip)),
    )
    torch.testing.assert_close(fair.rotation_deg, torch.full((5,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(fair.translation, torch.zeros(5, dtype=torch.float64))
    assert plain.rotation_deg.min() > 170
    torch.testing.assert_close(plain.translation, torch.full((5,), 10.0, dtype=torch.float64))


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_a_step_must_be_positive(step: float) -> None:
    with pytest.raises(ValueError, match="`max_step` must be positive"):
        symmetry_transforms(max_step=step)


def test_an_axis_must_have_a_direction() -> None:
    with pytest.raises(ValueError, match="`axis` must be longer than 0"):
        symmetry_transforms(continuous=[ContinuousSymmetry(torch.zeros(3), torch.zeros(3))])
