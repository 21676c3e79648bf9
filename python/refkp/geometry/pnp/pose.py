"""Poses as seven numbers (translation, unit quaternion w first) and their local coordinates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import require_trailing
from refkp.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix


def matrix_to_pose(cam_from_obj: Tensor) -> Tensor:
    """Pose (t, q) of a rigid 4x4 matrix.

    Args:
        cam_from_obj: [...,4,4], float.

    Returns:
        [...,7]: translation in its unit, then the quaternion with w >= 0.

    >>> matrix_to_pose(torch.eye(4))
    tensor([0., 0., 0., 1., 0., 0., 0.])
    """
    require_trailing("matrix_to_pose", "cam_from_obj", cam_from_obj, "4,4")
    return torch.cat((cam_from_obj[..., :3, 3], matrix_to_quaternion(cam_from_obj[..., :3, :3])), dim=-1)


def pose_to_matrix(pose: Tensor) -> Tensor:
    """Rigid 4x4 matrix of a pose (t, q).

    Args:
        pose: [...,7], float; the quaternion may have any length but zero.

    Returns:
        [...,4,4].

    >>> pose_to_matrix(torch.tensor([1.0, 2, 3, 2, 0, 0, 0]))[:3, 3]
    tensor([1., 2., 3.])
    """
    require_trailing("pose_to_matrix", "pose", pose, "7")
    top = torch.cat((quaternion_to_matrix(pose[..., 3:]), pose[..., :3, None]), dim=-1)
    bottom = torch.eye(4, dtype=pose.dtype, device=pose.device)[3:].expand(*pose.shape[:-1], 1, 4)
    return torch.cat((top, bottom), dim=-2)


def quaternion_tangent_map(quaternion: Tensor) -> Tensor:
    """The map T(q) from local rotations to quaternions: q <- normalise(q + T(q) dr).

    T = [[i,j,k],[-w,-k,j],[k,-w,-i],[-j,i,-w]], whose columns are orthogonal to q. A point then moves in the
    camera by skew(2 R x) dr.

    Args:
        quaternion: [...,4], (w,i,j,k).

    Returns:
        [...,4,3].

    Source: spec pose 4.4.

    >>> quaternion_tangent_map(torch.tensor([1.0, 0.0, 0.0, 0.0]))[1:].diagonal()
    tensor([-1., -1., -1.])
    """
    require_trailing("quaternion_tangent_map", "quaternion", quaternion, "4")
    w, i, j, k = quaternion.unbind(-1)
    rows = ((i, j, k), (-w, -k, j), (k, -w, -i), (-j, i, -w))
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def move_pose(pose: Tensor, step: Tensor) -> Tensor:
    """The pose after a local step: t + dt, normalise(q + T(q) dr).

    Args:
        pose: [...,7].
        step: [...,6], translation first.

    Returns:
        [...,7], with gradient to both.
    """
    rotation = (quaternion_tangent_map(pose[..., 3:]) @ step[..., 3:, None]).squeeze(-1)
    moved = functional.normalize(pose[..., 3:] + rotation, dim=-1)
    return torch.cat((pose[..., :3] + step[..., :3], moved), dim=-1)


def sound_pose(pose: Tensor) -> tuple[Tensor, Tensor]:
    """Poses with unit quaternions, and which of them were no poses.

    Those (an element that is not finite, a quaternion of length 0) become one in front of the camera, so that
    what is computed from them stays finite.

    Args:
        pose: [...,7].

    Returns:
        Poses [...,7] without a graph, and bool [...].
    """
    length = torch.linalg.vector_norm(pose[..., 3:], dim=-1)
    bad = ~torch.isfinite(pose).all(-1) | (length == 0)
    ahead = pose.new_tensor((0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0))
    sound = torch.where(bad[..., None], ahead, pose.detach())
    return torch.cat((sound[..., :3], functional.normalize(sound[..., 3:], dim=-1)), dim=-1), bad


class PoseError(NamedTuple):
    """How far poses are apart."""

    rotation: Tensor  # [...], radians in [0, pi]
    translation: Tensor  # [...], in the unit of the poses


def pose_error(pose: Tensor, true: Tensor) -> PoseError:
    """Angle and distance between poses.

    The angle is 2 atan2(|v|, |w|) of the relative quaternion (w, v). Its gradient is finite everywhere, and
    zero where the rotations are equal or opposite.

    Args:
        pose, true: [...,7] with unit quaternions of any sign; leading axes broadcast.

    Returns:
        [...] each, with gradient to both poses.

    Source: spec pose 4.5.

    >>> quarter = torch.tensor([0.0, 0, 0, 0.5**0.5, 0.5**0.5, 0, 0])
    >>> pose_error(quarter, torch.tensor([0.0, 3, 4, 1, 0, 0, 0]))
    PoseError(rotation=tensor(1.5708), translation=tensor(5.))
    """
    require_trailing("pose_error", "pose", pose, "7")
    require_trailing("pose_error", "true", true, "7")
    pose, true = torch.broadcast_tensors(pose, true)
    (w0, v0), (w1, v1) = (each[..., 3:].split((1, 3), dim=-1) for each in (pose, true))
    w = (pose[..., 3:] * true[..., 3:]).sum(-1)
    v = w0 * v1 - w1 * v0 - torch.linalg.cross(v0, v1)
    angle = 2 * torch.atan2(torch.linalg.vector_norm(v, dim=-1), w.abs())
    return PoseError(angle, torch.linalg.vector_norm(pose[..., :3] - true[..., :3], dim=-1))
