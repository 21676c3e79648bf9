"""Small batches with a known truth: a textured sphere, seen in a query and in templates around it."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.systems.pose.views import PoseBatch, Views
from tests.support.flow_scenes import intrinsics, pose, rotation, sphere_depth

RADIUS, DISTANCE = 60.0, 400.0


def sphere_views(poses: Tensor, size: int) -> Views:
    """Views [...] of a sphere about the origin of the object whose colour is its normal."""
    flat = poses.reshape(-1, 4, 4)
    K = intrinsics((size, size), 2.6)
    depth = torch.stack([sphere_depth(view[:3, 3], RADIUS, K, (size, size), 0.5) for view in flat])
    grid = torch.arange(size, dtype=torch.float64) + 0.5
    pixels = torch.stack([*torch.meshgrid(grid, grid, indexing="xy"), torch.ones(size, size)], -1)
    rays = pixels @ torch.linalg.inv(K).T
    in_object = (rays * depth[..., None] - flat[:, None, None, :3, 3]) @ flat[:, None, :3, :3]
    waves = 0.5 + 0.25 * (torch.sin(in_object / 9.0) + in_object / RADIUS)
    masks = depth > 0
    images = torch.where(masks[:, None], waves.movedim(-1, 1), 0.0)
    leading = poses.shape[:-2]
    return Views(
        images.float().unflatten(0, leading),
        masks.unflatten(0, leading),
        depth.float().unflatten(0, leading),
        K.expand(*leading, 3, 3),
        poses,
    )


def sphere_batch(batch: int = 2, templates: int = 3, size: int = 32, seed: int = 0) -> PoseBatch:
    """Queries a little beside their templates; all views at one distance."""
    generator = torch.Generator().manual_seed(seed)

    def near(base: Tensor, spread: float) -> Tensor:
        axis = torch.randn(3, generator=generator, dtype=torch.float64).tolist()
        angle = spread * float(torch.rand((), generator=generator))
        return rotation((axis[0], axis[1], axis[2]), angle) @ base

    def at(turn: Tensor) -> Tensor:
        return pose(turn, (0.0, 0.0, DISTANCE))

    bases = [near(torch.eye(3, dtype=torch.float64), 3.0) for _ in range(batch)]
    query = torch.stack([at(near(base, 0.3)) for base in bases])
    views = torch.stack([torch.stack([at(near(base, 0.5)) for _ in range(templates)]) for base in bases])
    return PoseBatch(
        sphere_views(query, size),
        sphere_views(views, size),
        torch.arange(templates).expand(batch, templates),
        torch.ones(batch, templates, dtype=torch.bool),
        -views[:, 0, 2, :3].float(),
        torch.zeros(batch, dtype=torch.int64),
        torch.full((batch,), 2 * RADIUS),
        tuple(f"000000_{index:06d}" for index in range(batch)),
    )


def select(batch: PoseBatch, objects: list[int]) -> PoseBatch:
    """Some objects of a batch, as a rank of a distributed run holds them."""
    index = torch.tensor(objects)
    tensors = {name: value[index] for name, value in batch._asdict().items() if isinstance(value, Tensor)}
    return batch._replace(
        query=batch.query.select(index),
        templates=batch.templates.select(index),
        keys=tuple(batch.keys[i] for i in objects),
        **tensors,
    )
