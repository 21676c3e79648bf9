"""Exact views of an ellipsoid: depth in closed form, so that a test of poses needs no renderer."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.geometry.rotations import quaternion_to_matrix
from refkp.systems.pose.views import Views

AXES = torch.tensor([60.0, 45.0, 75.0], dtype=torch.float64)  # half of them, millimetres
DIAMETER = 150.0
SIZE, PATCH = 96, 8


def ellipsoid_views(poses: Tensor, axes: Tensor = AXES) -> Views:
    """Views [n] of 96 x 96 pixels that an object of `DIAMETER` fills; poses [n,4,4] float64, half axes [3]."""
    count, distance = len(poses), torch.linalg.vector_norm(poses[:, :3, 3], dim=-1)
    focal = 0.9 * SIZE / DIAMETER * (distance - DIAMETER / 2)
    # the object stays in the middle of the crop wherever it is in front of the camera
    middle = SIZE / 2 - focal[:, None] * poses[:, :2, 3] / poses[:, 2:3, 3]
    K = torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)
    K[:, 0, 0], K[:, 1, 1], K[:, :2, 2] = focal, focal, middle
    y, x = torch.meshgrid(*2 * [torch.arange(SIZE, dtype=torch.float64) + 0.5], indexing="ij")
    pixels = torch.stack((x, y, torch.ones_like(x)), dim=-1).reshape(-1, 3)
    rays = pixels @ torch.linalg.inv(K).mT  # depth 1 along z
    direction = rays @ poses[:, :3, :3] / axes
    centre = -(poses[:, :3, :3].mT @ poses[:, :3, 3:])[:, :, 0] / axes
    a, b = direction.square().sum(-1), (direction @ centre[..., None])[..., 0]
    root = b.square() - a * (centre.square().sum(-1, keepdim=True) - 1)
    depth = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, 0).float().reshape(count, SIZE, SIZE)
    images = torch.rand(count, 3, SIZE, SIZE)  # what they show plays no part where the truth is known
    return Views(images, depth > 0, depth, K, poses)


def template_views(axes: Tensor = AXES) -> Views:
    """The 162 templates."""
    return ellipsoid_views(cam_from_obj(400 * icosphere_views(1)), axes)


def query_views(count: int, seed: int = 0, axes: Tensor = AXES) -> Views:
    """Random rotations and distances, off the optical axis."""
    generator = torch.Generator().manual_seed(seed)
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    quaternions = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    poses[:, :3, :3] = quaternion_to_matrix(quaternions)
    away = 300 + 300 * torch.rand(count, generator=generator, dtype=torch.float64)
    offset = 0.2 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
    poses[:, :3, 3] = torch.cat((offset * away[:, None], away[:, None]), dim=-1)
    return ellipsoid_views(poses, axes)
