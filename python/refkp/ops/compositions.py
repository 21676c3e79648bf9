"""What a user would write in torch instead of each op: the compositions that benchmarks and demo measure against."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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


# ---- vicreg ---------------------------------------------------------------------------------------

Covariance = Callable[[Tensor, Tensor], Tensor]  # centred [P,L,D], squared column norms [P,D] -> [P]


def vicreg(x: Tensor, y: Tensor, covariance: Covariance, chunk: int | None = None) -> Tensor:
    """The loss of every pair [P] of strips x, y [P,L,D], all pairs in one batch or `chunk` at a time."""
    if chunk is not None:
        parts = zip(x.split(chunk), y.split(chunk), strict=True)
        return torch.cat([vicreg(a, b, covariance) for a, b in parts])
    invariance = (x - y).square().mean((1, 2))
    (variance_x, covariance_x), (variance_y, covariance_y) = (_spread(z, covariance) for z in (x, y))
    return 25 * invariance + 12.5 * (variance_x + variance_y) + covariance_x + covariance_y


def _spread(z: Tensor, covariance: Covariance) -> tuple[Tensor, Tensor]:
    centred = z - z.mean(1, keepdim=True)
    squares = centred.square().sum(1)
    deviation = torch.sqrt(squares / (z.shape[1] - 1) + 1e-4)
    return F.relu(1 - deviation).mean(1), covariance(centred, squares)


def vicreg_covariance(centred: Tensor, squares: Tensor) -> Tensor:
    """Off-diagonal squares of the D x D covariance matrices."""
    matrix = centred.transpose(1, 2) @ centred / (centred.shape[1] - 1)
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    return (matrix.square().sum((1, 2)) - diagonal.square().sum(1)) / centred.shape[2]


def vicreg_gram(centred: Tensor, squares: Tensor) -> Tensor:
    """The same from the L x L Gram matrices."""
    gram = centred @ centred.transpose(1, 2)
    return (gram.square().sum((1, 2)) - squares.square().sum(1)) / (
        centred.shape[2] * (centred.shape[1] - 1) ** 2
    )


# ---- flow_gt --------------------------------------------------------------------------------------


def flow_gt(
    depth_src: Tensor, K_src: Tensor, depth_dst: Tensor, K_dst: Tensor, dst_from_src: Tensor
) -> tuple[Tensor, Tensor]:
    """Rule quad without masks over all pairs at once: folded maps, padded target, one gather per corner."""
    height_dst, width_dst = depth_dst.shape[-2:]
    height, width = depth_src.shape[-2:]
    linear = (K_dst @ dst_from_src[..., :3, :3] @ torch.linalg.inv(K_src)[:, None]).to(depth_src.dtype)
    shift = (K_dst @ dst_from_src[..., :3, 3:]).to(depth_src.dtype)
    x = torch.arange(width, dtype=depth_src.dtype, device=depth_src.device) + 0.5
    y = torch.arange(height, dtype=depth_src.dtype, device=depth_src.device) + 0.5
    rows = linear[..., 1, None] * y + linear[..., 2, None]  # [B,S,3,H]
    rays = linear[..., 0, None, None] * x + rows[..., None]  # [B,S,3,H,W]
    points = torch.addcmul(shift[..., None].expand_as(rays), rays, depth_src[:, None, None])
    z = points[:, :, 2]
    valid = ((depth_src > 0) & torch.isfinite(depth_src))[:, None]
    in_front = valid & (z > 1e-6)
    uv = torch.where(in_front[:, :, None], points[:, :, :2] / torch.where(in_front, z, 1)[:, :, None], 0)
    u, v = uv[:, :, 0], uv[:, :, 1]
    inside = in_front & (u >= 0) & (u < width_dst) & (v >= 0) & (v < height_dst)
    corner_x = (u - 0.5).floor().long().clamp(-1, width_dst - 1) + 1
    corner_y = (v - 0.5).floor().long().clamp(-1, height_dst - 1) + 1
    corner = (corner_y * (width_dst + 2) + corner_x).flatten(2)
    padded = F.pad(depth_dst, (1, 1, 1, 1)).flatten(2)
    tolerance = 0.5 + (2.0 / K_dst[..., 0, 0]).to(z.dtype)[..., None, None] * z
    seen, clear = torch.zeros_like(inside), torch.zeros_like(inside)
    for step in (0, 1, width_dst + 2, width_dst + 3):
        sample = padded.gather(2, corner + step).view_as(z)
        exists = (sample > 0) & torch.isfinite(sample)
        seen |= exists
        clear |= exists & ((z - sample).abs() <= tolerance)
    bits = (valid.expand_as(inside), in_front, inside, inside & seen, inside & clear)
    flags = sum(bit.to(torch.uint8) << k for k, bit in enumerate(bits))
    return uv.permute(0, 1, 3, 4, 2).contiguous(), torch.as_tensor(flags)


def flow_gt_per_pair(
    depth_src: Tensor, K_src: Tensor, depth_dst: Tensor, K_dst: Tensor, dst_from_src: Tensor
) -> tuple[Tensor, Tensor]:
    """The same once per (object, template), as data loaders do it."""
    batch, targets = depth_dst.shape[:2]
    pairs = [
        flow_gt(
            depth_src[b : b + 1],
            K_src[b : b + 1],
            depth_dst[b : b + 1, s : s + 1],
            K_dst[b : b + 1, s : s + 1],
            dst_from_src[b : b + 1, s : s + 1],
        )
        for b in range(batch)
        for s in range(targets)
    ]
    uv, flags = (torch.cat(parts, dim=1) for parts in zip(*pairs, strict=True))
    return uv.unflatten(1, (batch, targets))[0], flags.unflatten(1, (batch, targets))[0]
