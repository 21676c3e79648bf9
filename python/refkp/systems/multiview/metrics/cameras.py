"""How far estimated cameras are from the true ones. Source: spec multiview h."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.cameras import OpenCVCamera, camera_centre
from refkp.geometry.rotations import rotation_angle_between


class CameraErrors(NamedTuple):
    """Errors of cameras, each [...] float64."""

    rotation_deg: Tensor  # angle between the two orientations, in [0,180]
    centre: Tensor  # distance of the two places, in the unit of t
    focal_percent: Tensor  # mean over fx and fy of 100 |estimate / truth - 1|


def camera_errors(estimate: OpenCVCamera, truth: OpenCVCamera) -> CameraErrors:
    """Compare cameras K [...,3,3], R [...,3,3], t [...,3] of one world; leading axes broadcast."""
    K, R, t = (part.double() for part in estimate)
    true_K, true_R, true_t = (part.double() for part in truth)
    focal, true_focal = (matrix[..., :2, :2].diagonal(dim1=-2, dim2=-1) for matrix in (K, true_K))
    return CameraErrors(
        rotation_angle_between(R, true_R).rad2deg(),
        torch.linalg.vector_norm(camera_centre(R, t) - camera_centre(true_R, true_t), dim=-1),
        100 * (focal / true_focal - 1).abs().mean(-1),
    )
