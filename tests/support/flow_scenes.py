"""Scenes for the tests of flow_gt: random ones with every kind of pixel, planes and spheres."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp.ops.flow_gt import flow_gt

Scene = dict[str, Tensor]


class Maps(NamedTuple):
    uv: Tensor
    flags: Tensor


def maps(**arguments: Any) -> Maps:
    """flow_gt without the sizes that its result also carries."""
    gt = flow_gt(**arguments)
    return Maps(gt.uv, gt.flags)


def intrinsics(
    size: tuple[int, int],
    focal: float = 1.2,
    offset: tuple[float, float] = (0.0, 0.0),
    skew: float = 0.0,
    aspect: float = 1.0,
) -> Tensor:
    """[3,3] float64; `focal` in image widths, `offset` of the principal point in pixels from the middle.

    `skew` is in pixels, `aspect` is fy / fx.
    """
    height, width = size
    cx, cy = width / 2 + offset[0], height / 2 + offset[1]
    f = focal * max(width, height)
    return torch.tensor([[f, skew, cx], [0, aspect * f, cy], [0, 0, 1]], dtype=torch.float64)


def rotation(axis: tuple[float, float, float], angle: float) -> Tensor:
    """[3,3] float64 by Rodrigues' formula."""
    x, y, z = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0).tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.matrix_exp(cross * angle)


def pose(turn: Tensor, translation: tuple[float, float, float]) -> Tensor:
    """[4,4] float64."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = turn
    matrix[:3, 3] = torch.tensor(translation, dtype=torch.float64)
    return matrix


def pixel_grid(size: tuple[int, int], pixel_offset: float) -> Tensor:
    """[H,W,2] float64: the image point (x, y) of each pixel."""
    y = torch.arange(size[0], dtype=torch.float64) + pixel_offset
    x = torch.arange(size[1], dtype=torch.float64) + pixel_offset
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def random_scene(
    batch: int, targets: int, size: tuple[int, int], size_dst: tuple[int, int], seed: int = 0
) -> Scene:
    """Wavy surfaces that cut each other, nearby cameras with skew and fx != fy, masks, every kind of invalid depth."""
    generator = torch.Generator().manual_seed(seed)

    def surface(*shape: int) -> Tensor:
        x = pixel_grid((shape[-2], shape[-1]), 0.0) / max(shape[-2:]) * 6
        phase = 6 * torch.rand(*shape[:-2], 2, 1, 1, generator=generator, dtype=torch.float64)
        depth = (
            500
            + 25 * torch.sin(x[..., 0] + phase[..., 0, :, :])
            + 20 * torch.cos(x[..., 1] + phase[..., 1, :, :])
        )
        kind = torch.randint(0, 40, shape, generator=generator)
        for value, invalid in enumerate((0.0, -3.0, math.nan, math.inf)):
            depth[kind == value] = invalid
        return depth

    def mask(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) > 0.1

    poses = (
        torch.stack([_random_pose(generator) for _ in range(batch * targets)]) if batch * targets else None
    )
    cameras = [intrinsics(size_dst, 1.1 + 0.05 * k, (0.3, -0.7), -1.1, 0.8) for k in range(batch * targets)]
    return {
        "depth_src": surface(batch, *size),
        "K_src": intrinsics(size, skew=0.9, aspect=1.3).repeat(batch, 1, 1),
        "depth_dst": surface(batch, targets, *size_dst),
        "K_dst": torch.stack(cameras).view(batch, targets, 3, 3)
        if cameras
        else torch.zeros(batch, targets, 3, 3),
        "dst_from_src": torch.zeros(batch, targets, 4, 4)
        if poses is None
        else poses.view(batch, targets, 4, 4),
        "mask_src": mask(batch, *size),
        "mask_dst": mask(batch, targets, *size_dst),
    }


def _random_pose(generator: torch.Generator) -> Tensor:
    axis, turn, shift = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    angle = 0.15 * float(turn[0])
    about = pose(rotation((float(axis[0]), float(axis[1]), float(axis[2])), angle), (0, 0, 0))
    middle = pose(torch.eye(3, dtype=torch.float64), (0, 0, 500))
    moved = middle @ about @ torch.linalg.inv(middle)
    moved[:3, 3] += 15 * shift
    return moved


def borderline(scene: Scene, **options: object) -> Tensor:
    """[B,S,H,W] bool: pixels whose flags change under 1e-3 px of the landing point or 1e-5 of depth."""
    double = {name: value.double() if value.is_floating_point() else value for name, value in scene.items()}
    base = flow_gt(**double, **options, backend="reference").flags
    unsure = torch.zeros_like(base, dtype=torch.bool)
    for dx, dy in ((1e-3, 1e-3), (-1e-3, 1e-3), (1e-3, -1e-3), (-1e-3, -1e-3)):
        K_dst = double["K_dst"].clone()
        K_dst[..., 0, 2] += dx
        K_dst[..., 1, 2] += dy
        unsure |= flow_gt(**{**double, "K_dst": K_dst}, **options, backend="reference").flags != base
    depth = double["depth_dst"]
    for factor in (1 - 1e-5, 1 + 1e-5):
        scaled = {**double, "depth_dst": depth * factor}
        unsure |= flow_gt(**scaled, **options, backend="reference").flags != base
    return unsure


def plane_depth(
    normal: Tensor, distance: float, K: Tensor, size: tuple[int, int], pixel_offset: float
) -> Tensor:
    """[H,W] float64: depth of the plane normal . X = distance."""
    rays = _rays(K, size, pixel_offset)
    return distance / (rays @ normal)


def sphere_depth(
    centre: Tensor, radius: float, K: Tensor, size: tuple[int, int], pixel_offset: float
) -> Tensor:
    """[H,W] float64: depth of the near side of a sphere, 0 beside it."""
    rays = _rays(K, size, pixel_offset)
    a, b = (rays * rays).sum(-1), rays @ centre
    discriminant = b * b - a * (centre @ centre - radius**2)
    return torch.where(discriminant > 0, (b - discriminant.clamp(min=0).sqrt()) / a, 0.0)


def _rays(K: Tensor, size: tuple[int, int], pixel_offset: float) -> Tensor:
    grid = pixel_grid(size, pixel_offset)
    return torch.cat([grid, torch.ones_like(grid[..., :1])], dim=-1) @ torch.linalg.inv(K).T
