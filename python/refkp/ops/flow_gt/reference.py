"""`flow_gt` slow and obvious, in float64: one pair at a time, one sample of the target depth at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.ops.flow_gt.arguments import Judgement, Scene
from refkp.ops.flow_gt.checks import check_matrices
from refkp.ops.flow_gt.result import IN_FRONT, INSIDE, NOT_OCCLUDED, SOURCE_VALID, TARGET_VALID


def flow_gt(scene: Scene, judgement: Judgement) -> tuple[Tensor, Tensor]:
    """uv [B,S,H,W,2] and flags [B,S,H,W]; the checks of the public function have passed."""
    depth_src, K_src, depth_dst, K_dst, dst_from_src, mask_src, mask_dst = scene
    rule, tol_abs, tol_rel, tol_px, pixel_offset = judgement
    check_matrices(K_src, K_dst, dst_from_src)
    (batch, height, width), targets = depth_src.shape, depth_dst.shape[1]
    dtype = torch.promote_types(depth_src.dtype, torch.float32)
    uv = torch.zeros(batch, targets, height, width, 2, dtype=dtype, device=depth_src.device)
    flags = torch.zeros(batch, targets, height, width, dtype=torch.uint8, device=depth_src.device)
    for b in range(batch):
        valid = _is_depth(depth_src[b]) & (True if mask_src is None else mask_src[b])
        points = _unproject(torch.where(valid, depth_src[b], 0).double(), K_src[b].double(), pixel_offset)
        for s in range(targets):
            pose, K = dst_from_src[b, s].double(), K_dst[b, s].double()
            points_dst = points @ pose[:3, :3].T + pose[:3, 3]
            z = points_dst[..., 2]
            in_front = valid & (z > 1e-6)
            divisor = torch.where(in_front, z, 1) + (1e-4 if rule == "bilinear_relative" else 0)
            image = (points_dst @ K.T)[..., :2] / divisor[..., None]
            image = torch.where(in_front[..., None], image, 0)
            target = torch.where(_is_depth(depth_dst[b, s]), depth_dst[b, s], 0).double()
            mask = torch.ones_like(target, dtype=torch.bool) if mask_dst is None else mask_dst[b, s]
            inside = in_front & _is_inside(image, target, rule, pixel_offset)
            slope = tol_rel + tol_px / float(K[0, 0])
            seen, clear = _judge(image, z, target, rule, tol_abs, slope, pixel_offset)
            landing = torch.floor(image - pixel_offset + 0.5)
            on_mask = _read(mask.double(), landing) > 0
            uv[b, s] = image.to(dtype)
            for bit, condition in (
                (SOURCE_VALID, valid),
                (IN_FRONT, in_front),
                (INSIDE, inside),
                (TARGET_VALID, inside & seen & on_mask),
                (NOT_OCCLUDED, inside & clear),
            ):
                flags[b, s] += bit * condition.to(torch.uint8)
    return uv, flags


def _is_depth(depth: Tensor) -> Tensor:
    return torch.isfinite(depth) & (depth > 0)


def _unproject(depth: Tensor, K: Tensor, pixel_offset: float) -> Tensor:
    """[H,W] -> [H,W,3]: z K^-1 (x, y, 1)."""
    rows = torch.arange(depth.shape[0], dtype=depth.dtype, device=depth.device) + pixel_offset
    columns = torch.arange(depth.shape[1], dtype=depth.dtype, device=depth.device) + pixel_offset
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ torch.linalg.inv(K).T
    return rays * depth[..., None]


def _is_inside(image: Tensor, target: Tensor, rule: str, pixel_offset: float) -> Tensor:
    height, width = target.shape
    x, y = (image - pixel_offset + 0.5).unbind(-1)
    if rule == "bilinear_relative":
        return (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _read(image: Tensor, pixel: Tensor) -> Tensor:
    """image [Ht,Wt] at whole-numbered `pixel` [H,W,2] (x, y); 0 outside."""
    height, width = image.shape
    x, y = pixel.unbind(-1)
    there = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    value = image[y.clamp(0, height - 1).long(), x.clamp(0, width - 1).long()]
    return torch.where(there, value, 0)


def _judge(
    image: Tensor, z: Tensor, target: Tensor, rule: str, tol_abs: float, slope: float, pixel_offset: float
) -> tuple[Tensor, Tensor]:
    """Whether the target depth near the point is valid, and whether the point is not occluded."""
    centred = image - pixel_offset  # pixel centres on the integers
    if rule.startswith("nearest"):
        sample = _read(target, torch.floor(centred + 0.5))
        gap = (z - sample).abs() if rule == "nearest_twosided" else z - sample
        return sample > 0, (sample > 0) & (gap <= tol_abs + slope * z)
    corner = torch.floor(centred)
    seen, clear = torch.zeros_like(z, dtype=torch.bool), torch.zeros_like(z, dtype=torch.bool)
    blend = torch.zeros_like(z)
    for dy in (0, 1):
        for dx in (0, 1):
            pixel = corner + torch.tensor([dx, dy], dtype=corner.dtype, device=corner.device)
            sample = _read(target, pixel)
            seen |= sample > 0
            clear |= (sample > 0) & ((z - sample).abs() <= tol_abs + slope * z)
            blend += (1 - (centred - pixel).abs()).prod(-1) * sample
    if rule == "quad":
        return seen, clear
    return blend > 0, (blend > 0) & ((z - blend).abs() < tol_abs + slope * blend)
