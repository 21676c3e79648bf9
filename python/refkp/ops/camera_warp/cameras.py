"""The cameras of camera_warp as the kernels want them: one row of numbers each, formed in float64."""

from __future__ import annotations

import torch
from torch import Tensor


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


@torch.no_grad()
def fold_radius(distortion: Tensor) -> Tensor:
    """The radius [B] at which r (1 + k1 r^2 + k2 r^4 + k3 r^6) stops growing; infinite where it never does.

    The smallest positive root of 1 + 3 k1 s + 5 k2 s^2 + 7 k3 s^3, s = r^2: with z = 1/s the largest root of
    z^3 + 3 k1 z^2 + 5 k2 z + 7 k3, by Cardano and Vieta and two steps of Newton.

    >>> fold_radius(torch.tensor([[-1 / 3, 0.0, 0.0, 0.0, 0.0], [0.1, 0.0, 0.0, 0.0, 0.0]]).double())
    tensor([1., inf], dtype=torch.float64)
    """
    k1, k2, _, _, k3 = distortion.double().unbind(-1)
    a, b, c = 3 * k1, 5 * k2, 7 * k3
    p, half_q = b - a * a / 3, a**3 / 27 - a * b / 6 + c / 2
    discriminant = half_q.square() + (p / 3) ** 3
    outer = half_q.abs() + discriminant.clamp(min=0).sqrt()
    cube = -half_q.sign() * outer ** (1 / 3)
    single = cube - torch.where(cube == 0, 0.0, p / (3 * cube))
    reach = (-p / 3).clamp(min=0).sqrt()
    cosine = torch.where(reach > 0, -half_q / reach**3, 1.0).clamp(-1, 1)
    triple = 2 * reach * torch.cos(torch.acos(cosine) / 3)
    z = torch.where(discriminant > 0, single, triple) - a / 3
    for _ in range(2):
        slope = (3 * z + 2 * a) * z + b
        z = z - torch.where(slope == 0, 0.0, (((z + a) * z + b) * z + c) / slope)
    size = torch.stack([a.abs(), b.abs().sqrt(), c.abs() ** (1 / 3)]).amax(0)
    return torch.where(z > 1e-6 * size, z, 0.0).reciprocal().sqrt()
