"""Poses as seven numbers."""

from __future__ import annotations

import math

import pytest
import torch

from refkp.geometry.pnp import matrix_to_pose, move_pose, pose_error, pose_to_matrix, quaternion_tangent_map
from refkp.geometry.rotations import axis_angle_to_matrix, rotation_angle_between
from tests.support.pnp_scenes import random_poses

POSES = random_poses(50, torch.Generator().manual_seed(0))


def test_matrices_come_back() -> None:
    matrix = pose_to_matrix(POSES)
    torch.testing.assert_close(pose_to_matrix(matrix_to_pose(matrix)), matrix)
    assert (matrix[:, 3] == torch.tensor([0.0, 0, 0, 1])).all()


def test_convention_a_step_turns_points_by_skew_of_twice_the_rotated_point() -> None:
    point = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    for pose in POSES[:5]:
        moved = torch.func.jacfwd(
            lambda step, pose=pose: pose_to_matrix(move_pose(pose, step))[:3, :3] @ point
        )(torch.zeros(6, dtype=torch.float64))
        rotated = pose_to_matrix(pose)[:3, :3] @ point
        skew = torch.linalg.cross((2 * rotated).expand(3, 3), torch.eye(3, dtype=torch.float64)).mT
        torch.testing.assert_close(moved[:, 3:], skew)


def test_the_tangent_map_is_orthonormal_and_orthogonal_to_the_quaternion() -> None:
    tangent = quaternion_tangent_map(POSES[:, 3:])
    identity = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    torch.testing.assert_close(tangent.mT @ tangent, identity)
    assert (tangent.mT @ POSES[:, 3:, None]).abs().max() < 1e-15


def test_the_error_is_the_angle_of_the_matrices_whatever_the_sign() -> None:
    a, b = POSES[:25], POSES[25:]
    want = rotation_angle_between(pose_to_matrix(a)[:, :3, :3], pose_to_matrix(b)[:, :3, :3])
    flipped = b * b.new_tensor([1.0] * 3 + [-1.0] * 4)
    for other in (b, flipped):
        error = pose_error(a, other)
        torch.testing.assert_close(error.rotation, want)
        torch.testing.assert_close(error.translation, (a - b)[:, :3].norm(dim=-1))


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1.0, math.pi - 1e-12, math.pi])
def test_the_gradient_of_the_error_is_finite(angle: float) -> None:
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = axis_angle_to_matrix(torch.tensor([0.0, angle, 0.0], dtype=torch.float64))
    pose = matrix_to_pose(turn)[None].requires_grad_()
    error = pose_error(pose, matrix_to_pose(torch.eye(4, dtype=torch.float64))[None])
    assert error.rotation.item() == pytest.approx(angle, abs=1e-9)
    (error.rotation + error.translation).sum().backward()
    assert torch.isfinite(pose.grad).all()
    if angle == 1.0:
        assert pose.grad[0, 3:].norm() == pytest.approx(2.0)
