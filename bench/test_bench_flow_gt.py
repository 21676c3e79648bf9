"""flow_gt against the best vectorised torch composition, and against a Python loop over the pairs."""

from __future__ import annotations

import pytest
import torch
from bench.support import Compare, Row, nbytes
from torch import Tensor

from refkp.ops import flow_gt

#: Objects, templates, crop size, wanted ratio (no target where fixed costs of the call dominate).
SHAPES = [((1, 8, 224, 224), 8.0), ((2, 8, 224, 224), 8.0), ((1, 1, 224, 224), None), ((1, 4, 480, 640), 8.0)]
Arguments = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def scene(batch: int, targets: int, height: int, width: int, device: str, *, background: bool) -> Arguments:
    """A wavy surface seen by cameras that turn about it; with `background`, only a disc of it exists."""
    y, x = torch.meshgrid(
        torch.arange(height) / height - 0.5, torch.arange(width) / width - 0.5, indexing="ij"
    )
    depth = 500 + 40 * torch.sin(6 * x) + 30 * torch.cos(5 * y)
    if background:
        depth[x**2 + y**2 > 0.12] = 0
    focal = 1.2 * width
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
    motion = torch.eye(4, dtype=torch.float64).repeat(batch, targets, 1, 1)
    angle = 0.01 + 0.02 * torch.arange(targets, dtype=torch.float64)
    motion[..., 0, 0] = motion[..., 2, 2] = angle.cos()
    motion[..., 0, 2], motion[..., 2, 0] = angle.sin(), -angle.sin()
    motion[..., 0, 3], motion[..., 2, 3] = 5 - 500 * angle.sin(), 500 - 500 * angle.cos()
    arguments = (
        depth.expand(batch, height, width).contiguous(),
        K.repeat(batch, 1, 1),
        depth.expand(batch, targets, height, width).contiguous(),
        K.repeat(batch, targets, 1, 1),
        motion,
    )
    depth_src, K_src, depth_dst, K_dst, dst_from_src = (tensor.to(device) for tensor in arguments)
    return depth_src, K_src, depth_dst, K_dst, dst_from_src


def composition(
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
    padded = torch.nn.functional.pad(depth_dst, (1, 1, 1, 1)).flatten(2)
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


def loop_over_pairs(
    depth_src: Tensor, K_src: Tensor, depth_dst: Tensor, K_dst: Tensor, dst_from_src: Tensor
) -> tuple[Tensor, Tensor]:
    """The composition once per (object, template), as data loaders do it."""
    batch, targets = depth_dst.shape[:2]
    pairs = [
        composition(
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


@pytest.mark.parametrize("background", [False, True], ids=["full", "disc"])
@pytest.mark.parametrize(("shape", "target"), SHAPES, ids=str)
def test_bench_flow_gt(
    shape: tuple[int, int, int, int], target: float | None, background: bool, compare: Compare, device: str
) -> None:
    arguments = scene(*shape, device, background=background)
    uv_bytes = 9 * shape[0] * shape[1] * shape[2] * shape[3]
    compare(
        Row(
            op="flow_gt",
            mode="forward " + ("disc" if background else "full"),
            shape=shape,
            dtype=torch.float32,
            device=device,
            ours=lambda: flow_gt(*arguments)[:2],
            peers={
                "torch": lambda: composition(*arguments),
                "torch per pair": lambda: loop_over_pairs(*arguments),
            },
            reference=lambda: flow_gt(*arguments, backend="reference")[:2],
            target=target,
            bytes=nbytes(arguments[0], arguments[2]) + uv_bytes,
        )
    )
