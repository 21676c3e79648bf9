"""affine_warp, slow and obvious: four taps fetched by index, in float64, gradients by torch autograd."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp.ops._theta import check_theta_values


def affine_warp(
    image: Tensor, theta: Tensor, size: Sequence[int], inverse: bool, fill: Sequence[float]
) -> Tensor:
    """See `refkp.ops.affine_warp`; `fill` has one value a channel or none."""
    if not torch.compiler.is_compiling():
        check_theta_values("affine_warp", theta)
    background = torch.tensor(fill or [0.0] * image.shape[1], dtype=torch.float64, device=image.device).view(
        1, -1, 1, 1
    )
    out = _warp(image.double() - background, theta.double(), size, inverse) + background
    return out.to(image.dtype)


def _warp(image: Tensor, theta: Tensor, size: Sequence[int], inverse: bool) -> Tensor:
    height, width = image.shape[2:]
    if inverse:
        linear = torch.linalg.inv(theta[:, :, :2])
        theta = torch.cat([linear, -linear @ theta[:, :, 2:]], dim=2)
    source = _normalised_centres(size, theta) @ theta.transpose(1, 2)  # [B,h*w,2]
    px = ((source[..., 0] + 1) * width - 1) / 2
    py = ((source[..., 1] + 1) * height - 1) / 2
    x0, y0 = px.floor(), py.floor()
    out = torch.zeros(*image.shape[:2], px.shape[1], dtype=image.dtype, device=image.device)
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = x0 + dx, y0 + dy
            weight = (1 - (px - x).abs()) * (1 - (py - y).abs())
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).nan_to_num().long()
            taps = image.flatten(2).gather(2, index[:, None].expand(-1, image.shape[1], -1))
            out = out + torch.where(inside[:, None], weight[:, None] * taps, 0)
    out = torch.where((px - px + py - py == 0)[:, None], out, torch.nan)  # the position must be finite
    return out.view(*image.shape[:2], *size)


def _normalised_centres(size: Sequence[int], like: Tensor) -> Tensor:
    """(x, y, 1) of every output pixel, row by row: [h*w,3]."""
    height, width = size
    x = (2 * torch.arange(width, dtype=like.dtype, device=like.device) + 1) / width - 1
    y = (2 * torch.arange(height, dtype=like.dtype, device=like.device) + 1) / height - 1
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], dim=-1).view(-1, 3)
