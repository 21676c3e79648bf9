"""Rigs that look at the origin from all around, and what they see, with noise, gaps and wrong detections."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refkp.geometry.rig import Rig

WIDTH, HEIGHT = 1280, 1024


def ring_rig(num_views: int = 6, *, radius: float = 600.0, seed: int = 0) -> Rig:
    """Cameras on a ring of two heights, with unequal lenses, looking at the origin."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.arange(num_views, dtype=torch.float64) * (2 * math.pi / num_views)
    height = 0.3 + 0.3 * (torch.arange(num_views) % 2)
    centres = radius * torch.stack(
        (angle.cos() * height.cos(), angle.sin() * height.cos(), height.sin().double()), dim=-1
    )
    forward = -centres / centres.norm(dim=-1, keepdim=True)
    right = torch.linalg.cross(
        forward, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(num_views, 3)
    )
    right = right / right.norm(dim=-1, keepdim=True)
    R = torch.stack((right, torch.linalg.cross(forward, right), forward), dim=-2)
    K = torch.tensor(
        [[1000.0, 0.0, WIDTH / 2], [0.0, 1010.0, HEIGHT / 2], [0.0, 0.0, 1.0]], dtype=torch.float64
    )
    lens = torch.tensor([-0.2, 0.05, 1e-3, -5e-4, 0.0], dtype=torch.float64)
    distortion = lens * (1 + 0.1 * torch.randn(num_views, 1, generator=generator, dtype=torch.float64))
    return Rig(K.repeat(num_views, 1, 1), distortion, R, -(R @ centres[..., None])[..., 0])


def scattered_points(num_points: int, *, size: float = 200.0, seed: int = 0) -> Tensor:
    """Points [N,3] in a cube about the origin."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(num_points, 3, generator=generator, dtype=torch.float64) - 0.5) * size


def detections(
    rig: Rig, points: Tensor, *, noise_px: float, missing: float = 0.0, wrong: float = 0.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """What the rig sees of points [...,3]: uv [...,V,2], NaN where missing, and which are wrong, bool [...,V]."""
    generator = torch.Generator().manual_seed(seed)
    uv = rig.project(points).uv
    uv = uv + noise_px * torch.randn(uv.shape, generator=generator, dtype=torch.float64)
    is_wrong = torch.rand(uv.shape[:-1], generator=generator) < wrong
    anywhere = torch.rand(uv.shape, generator=generator, dtype=torch.float64) * torch.tensor([WIDTH, HEIGHT])
    uv = torch.where(is_wrong[..., None], anywhere, uv)
    is_missing = torch.rand(uv.shape[:-1], generator=generator) < missing
    return torch.where(is_missing[..., None], torch.nan, uv), is_wrong & ~is_missing
