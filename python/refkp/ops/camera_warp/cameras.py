"""The cameras of camera_warp as the kernels want them: one row of numbers each, formed in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.geometry.distortion import fold_radius
from refkp.ops._theta import inverse_map


def make_cameras(intrinsics: Tensor, distortion: Tensor, affine: Tensor) -> Tensor:
    """[B,22] float64, as csrc/warp/camera_map.h has them. Nothing waits for a device.

    The output pixel (column, row) to the ideal pixel, both as indices [2,3]; to the ideal pixel on the plane at
    distance 1 [2,3]; the linear part of the intrinsics [2,2]; the distortion [5]; the radius of its fold.
    """
    K, lens, forward = (tensor.detach().double() for tensor in (intrinsics, distortion, affine))
    inverses = inverse_map(torch.cat([forward, K[:, :2]]))
    back, inverse = inverses[: len(K)], inverses[len(K) :]  # in edge coordinates
    pixel = torch.cat([back[:, :, :2], back[:, :, :2].sum(2, keepdim=True) * 0.5 + back[:, :, 2:]], dim=2)
    ray = inverse[:, :, :2] @ pixel
    ray[:, :, 2] += inverse[:, :, 2]
    pixel[:, :, 2] -= 0.5
    parts = (pixel, ray, K[:, :2, :2], lens, fold_radius(lens)[:, None])
    return torch.cat([part.flatten(1) for part in parts], dim=1)
