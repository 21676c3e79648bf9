"""Rotations: axis-angle, quaternion, 6D and matrix, with gradients that stay finite at the singular points.

Matrices act on column vectors. Quaternions are (w, x, y, z). The 6D form holds the first two matrix rows.
Every function takes any leading axes and float32 or float64, and passes gradients to its input.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refkp._checks import require_trailing

#: The largest `rotation_error` of what is taken for a rotation: published poses have up to 0.01.
LARGEST_ROTATION_ERROR = 0.02


def rotation_error(matrix: Tensor) -> Tensor:
    """How far matrices are from rotations: the largest element of |R R^T - 1|, infinite where R mirrors.

    Args:
        matrix: [...,3,3].

    Returns:
        [...]; NaN where an element is.

    >>> rotation_error(torch.eye(3))
    tensor(0.)
    """
    require_trailing("rotation_error", "matrix", matrix, "3,3")
    off = (matrix @ matrix.mT - torch.eye(3, dtype=matrix.dtype, device=matrix.device)).abs().amax((-2, -1))
    return torch.where(torch.linalg.det(matrix) < 0, torch.inf, off)


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rotation matrix of an axis-angle vector.

    R = I + sin(a)/a [v]x + (1 - cos(a))/a^2 [v]x^2 with angle a = |v| (Rodrigues).

    Args:
        axis_angle: [...,3], float; the direction is the axis, the length the angle in radians (any length).

    Returns:
        [...,3,3].

    Raises:
        ValueError: the last axis is not 3.

    Source: spec multiview e.4.

    >>> axis_angle_to_matrix(torch.tensor([0.0, 0.0, torch.pi / 2])).round(decimals=3) + 0.0
    tensor([[ 0., -1.,  0.],
            [ 1.,  0.,  0.],
            [ 0.,  0.,  1.]])
    """
    require_trailing("axis_angle_to_matrix", "axis_angle", axis_angle, "3")
    squared = axis_angle.square().sum(-1)[..., None, None]
    cross = cross_matrix(axis_angle)
    # (1 - cos a)/a^2 = 1/2 (sin(a/2)/(a/2))^2 does not cancel at small angles.
    half = _sinc_of_square(squared / 4)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + _sinc_of_square(squared) * cross + 0.5 * half.square() * (cross @ cross)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Axis-angle vector of a rotation matrix, of length in [0, pi].

    It goes through the quaternion (w, n): v = n * 2 atan2(|n|, w)/|n|, which is accurate near 0 and near pi.
    The gradient at the identity is finite.

    Args:
        matrix: [...,3,3], float, rotations.

    Returns:
        [...,3], radians. At exactly pi both signs of the axis are right; one is returned.

    Raises:
        ValueError: the last axes are not 3,3.

    Source: spec multiview e.4.

    >>> matrix_to_axis_angle(torch.eye(3))
    tensor([0., 0., 0.])
    """
    w, vector = matrix_to_quaternion(matrix).split((1, 3), dim=-1)
    squared = vector.square().sum(-1, keepdim=True)
    near_zero = squared < 1e-6
    length = torch.where(near_zero, torch.ones_like(squared), squared).sqrt()
    ratio = squared / torch.where(near_zero, w, torch.ones_like(w)).square()
    series = 2 * (1 - ratio / 3 + ratio.square() / 5) / torch.where(near_zero, w, torch.ones_like(w))
    return vector * torch.where(near_zero, series, 2 * torch.atan2(length, w) / length)


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Rotation matrix of a quaternion (w, x, y, z) of any length but zero.

    R = I + 2/|q|^2 (w [n]x + [n]x^2) with the vector part n.

    Args:
        quaternion: [...,4], float.

    Returns:
        [...,3,3].

    Raises:
        ValueError: the last axis is not 4.

    >>> quaternion_to_matrix(torch.tensor([0.0, 5.0, 0.0, 0.0])).diagonal()
    tensor([ 1., -1., -1.])
    """
    require_trailing("quaternion_to_matrix", "quaternion", quaternion, "4")
    w, vector = quaternion[..., :1, None], quaternion[..., 1:]
    cross = cross_matrix(vector)
    scale = 2 / quaternion.square().sum(-1)[..., None, None]
    identity = torch.eye(3, dtype=quaternion.dtype, device=quaternion.device)
    return identity + scale * (w * cross + cross @ cross)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Unit quaternion (w, x, y, z) with w >= 0 of a rotation matrix.

    The symmetric matrix 4 q q^T is linear in R; the row with the largest diagonal element is divided by it:
    no square root is taken near zero.

    Args:
        matrix: [...,3,3], float, rotations.

    Returns:
        [...,4].

    Raises:
        ValueError: the last axes are not 3,3.

    >>> matrix_to_quaternion(torch.diag(torch.tensor([1.0, -1.0, -1.0])))
    tensor([0., 1., 0., 0.])
    """
    require_trailing("matrix_to_quaternion", "matrix", matrix, "3,3")
    (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = (row.unbind(-1) for row in matrix.unbind(-2))
    ww, xx, yy, zz = 1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22
    wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m10 + m01, m02 + m20, m21 + m12
    rows = ((ww, wx, wy, wz), (wx, xx, xy, xz), (wy, xy, yy, yz), (wz, xz, yz, zz))
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1, keepdim=True)
    row = outer.gather(-2, best[..., None].expand(*best.shape, 4)).squeeze(-2)
    quaternion = row / (2 * row.gather(-1, best).sqrt())
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:
    """Rotation matrix of two 3-vectors: the rows after Gram-Schmidt, and their cross product.

    Args:
        rotation_6d: [...,6], float; the two vectors must not be parallel. The identity is (1,0,0,0,1,0).

    Returns:
        [...,3,3].

    Raises:
        ValueError: the last axis is not 6.

    Source: Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019, in the
    rows layout of spec multiview e.4.

    >>> rotation_6d_to_matrix(torch.tensor([2.0, 0.0, 0.0, 5.0, 3.0, 0.0])).diagonal()
    tensor([1., 1., 1.])
    """
    require_trailing("rotation_6d_to_matrix", "rotation_6d", rotation_6d, "6")
    first, second = rotation_6d[..., :3], rotation_6d[..., 3:]
    row_0 = F.normalize(first, dim=-1)
    row_1 = F.normalize(second - (row_0 * second).sum(-1, keepdim=True) * row_0, dim=-1)
    return torch.stack((row_0, row_1, torch.linalg.cross(row_0, row_1)), dim=-2)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """The first two rows of a rotation matrix, one after the other.

    Args:
        matrix: [...,3,3].

    Returns:
        [...,6].

    Raises:
        ValueError: the last axes are not 3,3.

    >>> matrix_to_rotation_6d(torch.eye(3))
    tensor([1., 0., 0., 0., 1., 0.])
    """
    require_trailing("matrix_to_rotation_6d", "matrix", matrix, "3,3")
    return matrix[..., :2, :].flatten(-2)


def rotation_angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Angle of the rotation that takes `a` to `b`, in [0, pi].

    The angle is 2 atan2(|n|, w) of the quaternion (w, n) of a^T b, which keeps the small angles that acos of
    the trace loses. The gradient is 0 where the rotations are equal.

    Args:
        a, b: [...,3,3], float, rotations; leading axes broadcast.

    Returns:
        [...], radians.

    Raises:
        ValueError: the last axes are not 3,3.

    Source: spec pose 2.2.

    >>> tilt = axis_angle_to_matrix(torch.tensor([1e-5, 0.0, 0.0]))
    >>> rotation_angle_between(torch.eye(3), tilt)
    tensor(1.0000e-05)
    """
    require_trailing("rotation_angle_between", "a", a, "3,3")
    require_trailing("rotation_angle_between", "b", b, "3,3")
    return torch.linalg.vector_norm(matrix_to_axis_angle(a.mT @ b), dim=-1)


def cross_matrix(vector: Tensor) -> Tensor:
    """The matrix [v]x with [v]x u = v x u."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))


def _sinc_of_square(squared: Tensor) -> Tensor:
    """sin(a)/a as a smooth function of a^2, so that gradients exist at a = 0."""
    near_zero = squared < 1e-3
    angle = torch.where(near_zero, torch.ones_like(squared), squared).sqrt()
    series = 1 - squared / 6 * (1 - squared / 20 * (1 - squared / 42 * (1 - squared / 72)))
    return torch.where(near_zero, series, angle.sin() / angle)
