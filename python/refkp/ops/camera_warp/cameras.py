"""The cameras of camera_warp as the kernels want them: one row of numbers each, formed in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.geometry.distortion import fold_radius


def make_cameras(intrinsics: Tensor, distortion: Tensor, affine: Tensor) -> Tensor:
    """[B,22] float64, as csrc/warp/camera_map.h has them. Nothing waits for a device.

    The output pixel (column, row) to the ideal pixel, both as indices [2,3]; to the ideal pixel on the plane at
    distance 1 [2,3]; the linear part of the intrinsics [2,2]; the distortion [5]; the radius of its fold.
    """
    K, lens, forward = (tensor.detach().double() for tensor in (intrinsics, distortion, affine))
    back = invert_affine(forward)  # in edge coordinates
    middle = back[:, :, :2].sum(2) * 0.5 + back[:, :, 2]
    pixel = torch.cat([back[:, :, :2], (middle - 0.5)[:, :, None]], dim=2)
    inverse = invert_affine(K[:, :2])
    ray_constant = (inverse[:, :, :2] @ middle[:, :, None]) + inverse[:, :, 2:]
    ray = torch.cat([inverse[:, :, :2] @ back[:, :, :2], ray_constant], dim=2)
    parts = (pixel, ray, K[:, :2, :2], lens, fold_radius(lens)[:, None])
    return torch.cat([part.flatten(1) for part in parts], dim=1).contiguous()


def invert_affine(matrix: Tensor) -> Tensor:
    """The inverse maps of [B,2,3]; in closed form, since `torch.linalg.inv` waits for the device."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrix[:, :, :2].unbind(-2))
    adjugate = torch.stack([torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)
    linear = adjugate / (a * d - b * c)[:, None, None]
    return torch.cat([linear, -linear @ matrix[:, :, 2:]], dim=2)
