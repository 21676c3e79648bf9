"""e2p in torch, and with py360convert and OpenCV."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from refkp._extras import named_extras


def e2p(erp: Tensor, rotation: Tensor, side: int) -> Tensor:
    """Square tiles of 90 degrees: pad across seam and poles, grid in memory, grid_sample, image expanded."""
    padded = _pad_sphere(erp).float().expand(len(rotation), -1, -1, -1)
    return F.grid_sample(padded, _tile_grid(rotation, side, erp.shape[2:]), align_corners=True)


def e2p_stacked(erp: Tensor, rotation: Tensor, side: int, scale: int = 1) -> Tensor:
    """The same with all tiles in one tall grid, which spares the backward pass a gradient image per tile.

    `scale` renders larger tiles and averages them.
    """
    tiles = _stacked_tiles(erp, rotation, side * scale)
    return F.avg_pool2d(tiles, scale) if scale > 1 else tiles


def e2p_shrunk(erp: Tensor, rotation: Tensor, side: int, scale: int, *, antialias: bool) -> Tensor:
    """Tiles rendered `scale` times as large and resized."""
    tiles = _stacked_tiles(erp, rotation, side * scale)
    return F.interpolate(tiles, (side, side), mode="bilinear", align_corners=False, antialias=antialias)


def e2p_mip(erp: Tensor, rotation: Tensor, side: int) -> Tensor:
    """Square tiles of 90 degrees with antialias="mip": pooled levels, each sampled as a whole, then blended."""
    tangent = (torch.arange(side, device=erp.device) + 0.5) * 2 / side - 1
    across = 1 + tangent.square()
    reach = across + tangent.square()[:, None]
    pixels = 2 / side * max(erp.shape[2] / math.pi, erp.shape[3] / (2 * math.pi))
    level = torch.log2(pixels * torch.maximum(across, across[:, None]).sqrt() / reach) - 0.5
    level = level.clamp(min=0)
    image, tiles = erp.float(), torch.zeros((), device=erp.device)
    for k in range(math.ceil(level.max()) + 1):
        image = F.avg_pool2d(image, 2) if k > 0 else image
        share = (1 - (level - k).abs()).clamp(min=0)
        if share.any():
            tiles = tiles + share * _stacked_tiles(image, rotation, side)
    return tiles


def e2p_py360convert(pixels: Tensor, yaws: Sequence[float], side: int) -> Tensor:
    """Level tiles of 90 degrees from pixels [H,W,3] of bytes; its cache of eight samplers stays warm."""
    with named_extras():
        import py360convert

    tiles = [py360convert.e2p(pixels.numpy(), 90.0, yaw, 0.0, (side, side)) for yaw in yaws]
    return torch.stack([torch.from_numpy(tile) for tile in tiles]).permute(0, 3, 1, 2)


def e2p_py360convert_shrunk(pixels: Tensor, yaws: Sequence[float], side: int, scale: int) -> Tensor:
    """The same tiles rendered `scale` times as large, and shrunk by OpenCV with the mean of the area."""
    with named_extras():
        import cv2

    large = e2p_py360convert(pixels, yaws, side * scale).permute(0, 2, 3, 1).numpy()
    tiles = [cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA) for tile in large]
    return torch.stack([torch.from_numpy(tile) for tile in tiles]).permute(0, 3, 1, 2)


def _stacked_tiles(erp: Tensor, rotation: Tensor, side: int) -> Tensor:
    grid = _tile_grid(rotation, side, erp.shape[2:]).view(1, -1, side, 2)
    tall = F.grid_sample(_pad_sphere(erp).float(), grid, align_corners=True)
    return tall.view(erp.shape[1], len(rotation), side, side).transpose(0, 1)


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
