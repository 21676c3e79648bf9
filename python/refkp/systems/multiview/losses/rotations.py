"""Losses of rotations and regularisers of joints. Source: spec multiview g."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.geometry.rotations import matrix_to_axis_angle, rotation_angle_between
from refkp.nn.ranks import Mean


def rotation_loss(estimate: Tensor, target: Tensor, known: Tensor) -> Mean:
    """Mean Frobenius norm |R - S|, which is 2 sqrt(2) sin(angle / 2).

    Args:
        estimate, target: [B,...,3,3], rotations; the target may be anything where it is not known.
        known: bool [B], the samples that count.

    Gradients reach `estimate`; 0 where both are equal.
    """
    counted = known.view(-1, *[1] * (estimate.dim() - 3)).expand(estimate.shape[:-2])
    there = counted[..., None, None]
    squares = (torch.where(there, estimate, 0.0) - torch.where(there, target, 0.0)).square().sum((-2, -1))
    apart = squares > 0
    return Mean.over(torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0), counted)


def geodesic_loss(estimate: Tensor, target: Tensor, known: Tensor) -> Mean:
    """Mean angle between rotations in radians; arguments as of `rotation_loss`, known: bool [...]."""
    identity = torch.eye(3).to(estimate)
    there = known[..., None, None]
    angle = rotation_angle_between(
        torch.where(there, estimate, identity), torch.where(there, target, identity)
    )
    return Mean.over(angle, known)


def joint_angle_loss(rotations: Tensor) -> Mean:
    """Mean squared angle of joints against rest, in radians^2: [B,J-1,3,3], the root left out."""
    return Mean.over(matrix_to_axis_angle(rotations).square().sum(-1))


def joint_limit_loss(rotations: Tensor, limits: Tensor) -> Mean:
    """Mean squared angle by which joints exceed their limits, in radians^2.

    Args:
        rotations: [B,J-1,3,3], the root left out.
        limits: [J-1], radians.
    """
    squares = matrix_to_axis_angle(rotations).square().sum(-1)
    beyond = squares > limits.square()
    angle = torch.where(beyond, squares, 1.0).sqrt()
    return Mean.over(torch.where(beyond, (angle - limits).square(), 0.0))


def square_loss(values: Tensor, known: Tensor | None = None) -> Mean:
    """Mean square of numbers [B,...]; known: bool [B], the samples that count, None: all."""
    if known is None:
        return Mean.over(values.square())
    counted = known.view(-1, *[1] * (values.dim() - 1)).expand(values.shape)
    return Mean.over(torch.where(counted, values, 0.0).square(), counted)
