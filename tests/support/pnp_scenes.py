"""PnP problems of known pose: hand-sized point clouds half a metre away, seen by the camera of a crop."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from refkp.geometry.pnp import PnPProblem, pose_to_matrix

FOCAL = 600.0
SIZE = 224


def problems(
    objects: int,
    points: int,
    *,
    seed: int = 0,
    noise_px: float = 0.0,
    outliers: float = 0.0,
    dtype: torch.dtype = torch.float64,
) -> tuple[PnPProblem, Tensor]:
    """Problems with weights 1 and their true poses [B,7]; outliers are uniform over the picture."""
    generator = torch.Generator().manual_seed(seed)
    cloud = 0.12 * (torch.rand(objects, points, 3, generator=generator, dtype=torch.float64) - 0.5)
    pose = random_poses(objects, generator)
    intrinsics = torch.tensor(
        [[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]], dtype=torch.float64
    ).repeat(objects, 1, 1)
    pixels = project(cloud, pose, intrinsics)
    pixels += noise_px * torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    wrong = round(outliers * points)
    pixels[:, :wrong] = SIZE * torch.rand(objects, wrong, 2, generator=generator, dtype=torch.float64)
    parts = (cloud, pixels, torch.ones_like(pixels), intrinsics)
    cloud, pixels, weights, intrinsics = (part.to(dtype) for part in parts)
    return PnPProblem(cloud, pixels, weights, intrinsics), pose.to(dtype)


def random_poses(count: int, generator: torch.Generator) -> Tensor:
    """Random rotations some 0.6 m in front of the camera, float64 [n,7]."""
    shift = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    turn = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    ahead = torch.tensor([0.0, 0.0, 0.6], dtype=torch.float64)
    return torch.cat((ahead + 0.03 * shift, functional.normalize(turn, dim=-1)), dim=-1)


def project(points: Tensor, pose: Tensor, intrinsics: Tensor) -> Tensor:
    """Pixels [B,n,2] of points [B,n,3]."""
    matrix = pose_to_matrix(pose)
    camera = points @ matrix[:, :3, :3].mT + matrix[:, None, :3, 3]
    homogeneous = camera @ intrinsics.mT
    return homogeneous[..., :2] / homogeneous[..., 2:]


def nearby(pose: Tensor, *, seed: int = 1, scale: float = 0.05) -> Tensor:
    """Poses some `scale` radians and `scale`/2 metres off."""
    generator = torch.Generator().manual_seed(seed)
    noise = scale * torch.randn(pose.shape, generator=generator, dtype=torch.float64).to(pose.dtype)
    moved = pose + noise * pose.new_tensor([0.5] * 3 + [1.0] * 4)
    return torch.cat((moved[:, :3], functional.normalize(moved[:, 3:], dim=-1)), dim=-1)
