"""Rendered templates and held-out views of a mesh."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from refkp.geometry.icosphere import cam_from_obj, icosphere_views
from refkp.geometry.rotations import quaternion_to_matrix
from refkp.systems.pose.crops import crop_views, mask_box
from refkp.systems.pose.views import Views

SIZE, PATCH = 224, 16
K = torch.tensor([[572.4114, 0.0, 320.0], [0.0, 573.57043, 240.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
PICTURE = (480, 640)


def template_views(mesh: Mesh, level: int = 1) -> Views:
    """Every view of a level, from twice the diagonal of the box of the object, which is on the axis."""
    distance = 2 * float(torch.from_numpy(mesh.extent).norm())
    poses = cam_from_obj(distance * icosphere_views(level))
    return _views(mesh, _about_the_centre(poses, mesh))


def held_out_views(mesh: Mesh, count: int, seed: int = 0) -> Views:
    """Random directions, in-plane angles and distances; off the axis, but inside the picture."""
    generator = torch.Generator().manual_seed(seed)
    diagonal = float(torch.from_numpy(mesh.extent).norm())
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    quaternion = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    poses[:, :3, :3] = quaternion_to_matrix(quaternion)
    shares = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    distance = diagonal * (1.5 + 2 * shares[:, 0])
    poses[:, 2, 3] = distance
    poses[:, :2, 3] = (shares[:, 1:] - 0.5) * torch.tensor([0.3, 0.2]) * (distance - diagonal)[:, None]
    return _views(mesh, _about_the_centre(poses, mesh))


def _about_the_centre(poses: Tensor, mesh: Mesh) -> Tensor:
    """The poses of the mesh's own frame in which its box has the centre that `poses` give."""
    moved = poses.clone()
    moved[:, :3, 3] -= poses[:, :3, :3] @ torch.from_numpy(mesh.centre)
    return moved


def _views(mesh: Mesh, poses: Tensor) -> Views:
    renderer, crops = MeshRenderer([mesh]), []
    for pose in poses:
        seen = renderer.render(pose[None].numpy(), K.numpy(), PICTURE)
        rgb, depth = torch.from_numpy(seen.rgb).permute(2, 0, 1), torch.from_numpy(seen.depth)
        mask = torch.from_numpy(seen.instance >= 0)
        crops.append(crop_views(rgb, mask, depth, K, pose, mask_box(mask), SIZE))
    return Views(*(torch.stack(tensors) for tensors in zip(*crops, strict=True)))


def view_angle_deg(first: Tensor, second: Tensor) -> float:
    """The angle between the viewing directions of two poses [4,4]."""
    return math.degrees(math.acos(float((first[2, :3] @ second[2, :3]).clamp(-1, 1))))
