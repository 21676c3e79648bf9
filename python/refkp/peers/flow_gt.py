"""flow_gt in torch: all pairs at once, or one after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
