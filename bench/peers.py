"""What a user would write without refkp: the best torch compositions that the ops are measured against."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# ---- affine_warp and equivariance_loss ------------------------------------------------------------


def affine_warp(image: Tensor, theta: Tensor) -> Tensor:
    """The sampling grid in memory, then grid_sample; zeros outside."""
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


def invert_affine(theta: Tensor) -> Tensor:
    """[B,2,3] -> the inverse maps [B,2,3]."""
    linear = torch.linalg.inv(theta[:, :, :2])
    return torch.cat((linear, -linear @ theta[:, :, 2:]), dim=2)


def equivariance_loss(maps: Tensor, maps_warped: Tensor, theta: Tensor) -> Tensor:
    """Warp back, then the mean squared difference."""
    return F.mse_loss(affine_warp(maps_warped, invert_affine(theta)), maps)


# ---- e2p ------------------------------------------------------------------------------------------


def e2p(erp: Tensor, rotation: Tensor, side: int) -> Tensor:
    """Square tiles of 90 degrees: pad across seam and poles, grid in memory, grid_sample, image expanded."""
    padded = _pad_sphere(erp).float().expand(len(rotation), -1, -1, -1)
    return F.grid_sample(padded, _tile_grid(rotation, side, erp.shape[2:]), align_corners=True)


def e2p_stacked(erp: Tensor, rotation: Tensor, side: int, scale: int = 1) -> Tensor:
    """The same with all tiles in one tall grid, which spares the backward pass a gradient image per tile.

    `scale` renders larger tiles and averages them.
    """
    size = side * scale
    grid = _tile_grid(rotation, size, erp.shape[2:]).view(1, -1, size, 2)
    tall = F.grid_sample(_pad_sphere(erp).float(), grid, align_corners=True)
    tiles = tall.view(erp.shape[1], len(rotation), size, size).transpose(0, 1)
    return F.avg_pool2d(tiles, scale) if scale > 1 else tiles


def e2p_py360convert(pixels: Tensor, yaws: Sequence[float], side: int) -> Tensor:
    """Level tiles of 90 degrees from pixels [H,W,3] of bytes; its cache of eight samplers stays warm."""
    import py360convert

    tiles = [py360convert.e2p(pixels.numpy(), 90.0, yaw, 0.0, (side, side)) for yaw in yaws]
    return torch.stack([torch.from_numpy(tile) for tile in tiles]).permute(0, 3, 1, 2)


def _pad_sphere(erp: Tensor) -> Tensor:
    """One row beyond each pole, half a turn away, and one column beyond each side of the seam."""
    half = erp.shape[3] // 2
    tall = torch.cat([erp[:, :, :1].roll(half, 3), erp, erp[:, :, -1:].roll(half, 3)], dim=2)
    return torch.cat([tall[..., -1:], tall, tall[..., :1]], dim=3)


def _tile_grid(rotation: Tensor, side: int, erp_size: Sequence[int]) -> Tensor:
    """The grid [N,side,side,2] of tiles of 90 degrees in the padded image."""
    height, width = erp_size
    tangent = (torch.arange(side, device=rotation.device) + 0.5) * 2 / side - 1
    right, up = tangent.expand(side, side), -tangent[:, None].expand(side, side)
    rays = torch.stack([right, up, torch.ones_like(up)], dim=-1).view(1, -1, 3)
    x, y, z = (rays @ rotation.float().mT).view(-1, side, side, 3).unbind(-1)
    column = (torch.atan2(x, z) / (2 * math.pi) + 0.5) * width + 0.5
    row = (0.5 - torch.atan2(y, torch.hypot(x, z)) / math.pi) * height + 0.5
    return torch.stack([column * (2 / (width + 1)) - 1, row * (2 / (height + 1)) - 1], dim=-1)
