"""The derivative loss by its definition, at poses where the step is known to be nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from refkp.geometry.pnp import PnPSpec, derivative_loss, pose_error, solve
from refkp.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion
from tests.support.pnp_scenes import problems

BETA = 0.05


def moved(pose: Tensor, distance: float, angle: float) -> Tensor:
    """Poses [B,7] that are `distance` and `angle` away."""
    away = pose.clone()
    away[:, :3] += distance * torch.tensor([2.0, -1.0, 2.0], dtype=pose.dtype) / 3
    turn = matrix_to_quaternion(axis_angle_to_matrix(torch.tensor([0.0, angle, 0.0], dtype=pose.dtype)))
    w, x, y, z = away[:, 3:].unbind(-1)
    a, _, c, _ = turn.tolist()
    away[:, 3:] = torch.stack((a * w - c * y, a * x + c * z, a * y + c * w, a * z - c * x), -1)
    return away


@pytest.mark.parametrize("distance", [0.0, 0.5 * BETA, BETA, 3 * BETA])
@pytest.mark.parametrize("angle", [0.0, 0.3, 2.5])
def test_definition(distance: float, angle: float) -> None:
    """Exact matches: one more step from the solution leads nowhere, so that the loss is that of the solution."""
    problem, pose = problems(3, 20)
    spec = PnPSpec(iterations=20)
    solution, truth = solve(problem, spec, start=pose), moved(pose, distance, angle)
    torch.testing.assert_close(pose_error(solution.pose, truth).rotation, torch.full((3,), angle).double())
    loss = derivative_loss(problem, solution, truth, spec, beta=BETA)
    near = distance**2 / (2 * BETA) if distance <= BETA else distance - BETA / 2
    want = (near, 2 * math.sin(angle / 2) ** 2)
    for got, value in zip((loss.translation, loss.rotation), want, strict=True):
        torch.testing.assert_close(got, torch.full((3,), value).double(), rtol=1e-5, atol=1e-9)


def test_quaternions_of_either_sign_are_one_rotation() -> None:
    problem, pose = problems(2, 20)
    solution = solve(problem, start=pose)
    truth = moved(pose, 0.1, 0.7)
    other = torch.cat((truth[:, :3], -truth[:, 3:]), -1)
    losses = [derivative_loss(problem, solution, each).rotation for each in (truth, other)]
    assert torch.equal(*losses)
