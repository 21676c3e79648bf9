"""`flow_gt` in Triton: a program takes a block of source pixels of one pair; every read is a masked gather.

The bound is memory: 4 bytes of source depth and 9 bytes of result per pixel and pair; the target depth comes
from the caches, since neighbouring pixels land close together. The affine map of a pair is folded in float64
beforehand.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from refkp.ops.flow_gt.arguments import Judgement, Scene
from refkp.ops.flow_gt.checks import RULES
from refkp.ops.flow_gt.layout import contiguous_planes, plane_strides

_BLOCK = 512


def forward(scene: Scene, judgement: Judgement) -> tuple[Tensor, Tensor]:
    """uv [B,S,H,W,2] and flags [B,S,H,W]; the checks of the public function have passed."""
    depth_src, depth_dst, masks = scene.depth_src, scene.depth_dst, (scene.mask_src, scene.mask_dst)
    (batch, height, width), (targets, height_dst, width_dst) = depth_src.shape, depth_dst.shape[1:]
    uv = depth_src.new_empty(batch, targets, height, width, 2, dtype=torch.float32)
    flags = depth_src.new_empty(batch, targets, height, width, dtype=torch.uint8)
    if flags.numel() == 0:
        return uv, flags
    depths = contiguous_planes(depth_src), contiguous_planes(depth_dst)
    planes = [None if mask is None else contiguous_planes(mask.view(torch.uint8)) for mask in masks]
    blocks = triton.cdiv(height * width, _BLOCK)
    _flow_gt_kernel[(batch * targets * blocks,)](
        *depths,
        # Any pointer stands for a mask that is not read.
        *(flags if plane is None else plane for plane in planes),
        _fold(scene, judgement).float(),
        uv,
        flags,
        *_strides(*depths),
        *_strides(*planes),
        targets,
        height * width,
        width,
        height_dst,
        width_dst,
        blocks,
        judgement.tol_abs,
        judgement.pixel_offset,
        RULE=RULES.index(judgement.rule),
        HAS_MASK_SRC=scene.mask_src is not None,
        HAS_MASK_DST=scene.mask_dst is not None,
        BLOCK=_BLOCK,
    )
    return uv, flags


def _fold(scene: Scene, judgement: Judgement) -> Tensor:
    """[B,S,13] float64: K_dst [R K_src^-1 | t] row by row, then the tolerance per unit of depth."""
    K, pose = scene.K_src.double()[:, None, None], scene.dst_from_src.double()[..., :3, :]
    K_dst = scene.K_dst.double()
    x = pose[..., 0] / K[..., 0, 0]
    y = (pose[..., 1] - x * K[..., 0, 1]) / K[..., 1, 1]
    ray_map = torch.stack([x, y, pose[..., 2] - x * K[..., 0, 2] - y * K[..., 1, 2], pose[..., 3]], dim=-1)
    slope = judgement.tol_rel + judgement.tol_px / K_dst[..., 0, 0]
    return torch.cat([(K_dst @ ray_map).flatten(-2), slope[..., None]], dim=-1)


def _strides(src: Tensor | None, dst: Tensor | None) -> tuple[int, int, int]:
    """Between planes: of the source over B, of the target over B and S."""
    return plane_strides(src)[0], *plane_strides(dst)


@triton.jit
def _read_depth(plane, x, y, width, height, where):
    """Depth at whole pixels; 0 outside the image, where not `where`, and where it is invalid."""
    there = where & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    depth = tl.load(plane + y * width + x, mask=there, other=0.0).to(tl.float32)
    return tl.where((depth > 0) & (depth <= 3.402823466e38), depth, 0.0)


@triton.jit
def _judge_sample(z, sample, tolerance, two_sided: tl.constexpr):
    """Bits 3 and 4 for one sample of the target depth."""
    gap = z - sample
    if two_sided:
        gap = tl.abs(gap)
    return tl.where(sample > 0, tl.where(gap <= tolerance, 24, 8), 0)


@triton.jit
def _judge(plane, x, y, z, width, height, inside, tol_abs, slope, RULE: tl.constexpr):
    """Bits 3 and 4 by the rule; (x, y) in edge coordinates, pixel k covering [k, k + 1)."""
    tolerance = tol_abs + slope * z
    if RULE < 2:  # nearest, nearest_twosided
        column, row = tl.floor(x).to(tl.int32), tl.floor(y).to(tl.int32)
        flags = _judge_sample(z, _read_depth(plane, column, row, width, height, inside), tolerance, RULE == 1)
    else:
        left, top = tl.floor(x - 0.5), tl.floor(y - 0.5)
        wx, wy = x - 0.5 - left, y - 0.5 - top
        column, row = left.to(tl.int32), top.to(tl.int32)
        d00 = _read_depth(plane, column, row, width, height, inside)
        d10 = _read_depth(plane, column + 1, row, width, height, inside)
        d01 = _read_depth(plane, column, row + 1, width, height, inside)
        d11 = _read_depth(plane, column + 1, row + 1, width, height, inside)
        if RULE == 2:  # quad
            flags = _judge_sample(z, d00, tolerance, True) | _judge_sample(z, d10, tolerance, True)
            flags |= _judge_sample(z, d01, tolerance, True) | _judge_sample(z, d11, tolerance, True)
        else:  # bilinear_relative
            blend = (d00 * (1 - wx) + d10 * wx) * (1 - wy) + (d01 * (1 - wx) + d11 * wx) * wy
            clear = tl.abs(z - blend) < tol_abs + slope * blend
            flags = tl.where(blend > 0, tl.where(clear, 24, 8), 0)
    return flags


@triton.jit
def _project(m, depth, x, y, valid, RULE: tl.constexpr):
    """(u, v), 0 where not in front; Z; and whether that is in front. `m` is the folded pair."""
    U = depth * (tl.load(m) * x + (tl.load(m + 1) * y + tl.load(m + 2))) + tl.load(m + 3)
    V = depth * (tl.load(m + 4) * x + (tl.load(m + 5) * y + tl.load(m + 6))) + tl.load(m + 7)
    Z = depth * (tl.load(m + 8) * x + (tl.load(m + 9) * y + tl.load(m + 10))) + tl.load(m + 11)
    in_front = valid & (Z > 1e-6)
    reciprocal = 1.0 / (tl.where(in_front, Z, 1.0) + (1e-4 if RULE == 3 else 0.0))
    u, v = U * reciprocal, V * reciprocal
    in_front = in_front & (tl.abs(u) <= 3.402823466e38) & (tl.abs(v) <= 3.402823466e38)
    return tl.where(in_front, u, 0.0), tl.where(in_front, v, 0.0), Z, in_front


@triton.jit
def _is_inside(x, y, width, height, RULE: tl.constexpr):
    """Whether (x, y), in edge coordinates, is inside the target image by the rule."""
    if RULE == 3:
        return (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


@triton.jit
def _flow_gt_kernel(
    depth_src, depth_dst, mask_src, mask_dst, pairs, uv, flags,
    depth_src_b, depth_dst_b, depth_dst_s, mask_src_b, mask_dst_b, mask_dst_s,
    targets, pixels, width, height_dst, width_dst, blocks, tol_abs, offset,
    RULE: tl.constexpr, HAS_MASK_SRC: tl.constexpr, HAS_MASK_DST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    # 1. Which pair, which pixels.
    program = tl.program_id(0)
    pair = (program // blocks).to(tl.int64)
    b, s = pair // targets, pair % targets
    pixel = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    exists = pixel < pixels
    # 2. Project.
    depth = tl.load(depth_src + b * depth_src_b + pixel, mask=exists, other=0.0).to(tl.float32)
    valid = exists & (depth > 0) & (depth <= 3.402823466e38)
    if HAS_MASK_SRC:
        valid = valid & (tl.load(mask_src + b * mask_src_b + pixel, mask=exists, other=0) != 0)
    x, y = (pixel % width).to(tl.float32) + offset, (pixel // width).to(tl.float32) + offset
    m = pairs + pair * 13
    u, v, Z, in_front = _project(m, depth, x, y, valid, RULE)
    # 3. Inside test, in edge coordinates.
    x, y = u + (0.5 - offset), v + (0.5 - offset)
    inside = in_front & _is_inside(x, y, width_dst, height_dst, RULE)
    x, y = tl.where(inside, x, 0.0), tl.where(inside, y, 0.0)
    # 4. Occlusion, then the mask at the landing pixel.
    plane = depth_dst + b * depth_dst_b + s * depth_dst_s
    judged = _judge(plane, x, y, Z, width_dst, height_dst, inside, tol_abs, tl.load(m + 12), RULE)
    if HAS_MASK_DST:
        landing = y.to(tl.int32) * width_dst + x.to(tl.int32)
        on_mask = tl.load(mask_dst + b * mask_dst_b + s * mask_dst_s + landing, mask=inside, other=0) != 0
        judged = tl.where(on_mask, judged, judged & 16)
    # 5. Store.
    result = tl.where(valid, 1, 0) + tl.where(in_front, 2, 0) + tl.where(inside, 4 + judged, 0)
    out = pair * pixels + pixel
    tl.store(uv + 2 * out, u, mask=exists)
    tl.store(uv + 2 * out + 1, v, mask=exists)
    tl.store(flags + out, result.to(tl.uint8), mask=exists)
