"""What held-out samples say of an estimate: errors in space and in the pictures, and of the cameras."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.geometry.cameras import OpenCVCamera
from refkp.nn.ranks import Mean
from refkp.systems.multiview.losses.truth import Truth
from refkp.systems.multiview.metrics.cameras import camera_errors
from refkp.systems.multiview.metrics.points import PCK_SHARE, aligned_errors, point_errors
from refkp.systems.multiview.model.network import Cameras

_MM = 1000.0


def held_out_errors(
    joints: Tensor, uv: Tensor, cameras: Cameras, truth: Truth, image_size: int
) -> dict[str, Mean]:
    """Means over joints and views.

    Args:
        joints: [B,J,3] metres.
        uv: [B,V,J,2] pixels.
        cameras: estimated or given.
        truth: in the same frames.
        image_size: side of the pictures.
    """
    in_space = _MM * point_errors(joints, truth.points, truth.has_point)
    aligned = _MM * aligned_errors(joints, truth.points, truth.has_point)
    pixels = point_errors(uv, truth.keypoints, truth.visibility > 0)
    errors = camera_errors(OpenCVCamera(*cameras), OpenCVCamera(*truth.cameras))
    return {
        "mpjpe_mm": _mean(in_space),
        "pa_mpjpe_mm": _mean(aligned),
        "pck": _mean(torch.where(pixels.isnan(), torch.nan, (pixels <= PCK_SHARE * image_size).double())),
        "error_px": _mean(pixels),
        "camera_deg": Mean.over(errors.rotation_deg, truth.is_estimated),
        "camera_centre_mm": Mean.over(_MM * errors.centre, truth.is_estimated),
    }


def _mean(errors: Tensor) -> Mean:
    return Mean.over(errors, ~errors.isnan())
