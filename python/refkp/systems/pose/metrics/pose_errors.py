"""Angle and distance between poses, under the symmetries of the object."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import require_shape
from refkp.geometry.rotations import rotation_angle_between
from refkp.systems.pose.symmetry import symmetry_transforms


class PoseErrors(NamedTuple):
    """How far n estimates are from the truth."""

    rotation_deg: Tensor  # [n], in [0, 180]
    translation: Tensor  # [n], in the unit of the poses


def pose_errors(estimate: Tensor, truth: Tensor, symmetries: Tensor | None = None) -> PoseErrors:
    """Angle and distance between poses, under the symmetry that makes the angle smallest.

    Args:
        estimate, truth: cam_from_obj [n,4,4] float.
        symmetries: [m,4,4] of `symmetry_transforms`; None: the plain errors.

    Returns:
        PoseErrors; both values belong to one symmetry. Of equal angles the first counts.

    Raises:
        ValueError: a shape.

    Source: spec pose 4.5.
    """
    require_shape("pose_errors", "estimate", estimate, "n,4,4")
    require_shape("pose_errors", "truth", truth, "n,4,4", n=len(estimate))
    transforms = symmetry_transforms() if symmetries is None else symmetries
    alike = truth.double()[:, None] @ transforms.double()
    angle = rotation_angle_between(estimate.double()[:, None, :3, :3], alike[..., :3, :3])
    best = angle.argmin(1, keepdim=True)
    distance = torch.linalg.vector_norm(estimate.double()[:, None, :3, 3] - alike[..., :3, 3], dim=-1)
    return PoseErrors(angle.gather(1, best)[:, 0].rad2deg(), distance.gather(1, best)[:, 0])
