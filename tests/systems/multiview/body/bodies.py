"""A made-up body with everything that a body file may hold."""

from __future__ import annotations

import torch

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose

PARENTS = (-1, 0, 1, 0, 3)


def made_up_body(*, static: bool = False, posedirs: bool = True, seed: int = 0) -> Body:
    """20 vertices, 5 joints, 3 shapes, 2 components; float64."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    weights, regressor = normal(20, 5).exp(), normal(5, 20).exp()
    regressor = regressor / regressor.sum(1, keepdim=True)
    vertices = normal(20, 3)
    return Body(
        vertices=vertices,
        faces=torch.arange(18).view(6, 3),
        weights=weights / weights.sum(1, keepdim=True),
        parents=PARENTS,
        joint_names=tuple("abcde"),
        rest_joints=normal(5, 3) if static else regressor @ vertices,
        regressor=None if static else regressor,
        shapedirs=0.1 * normal(20, 3, 3),
        posedirs=0.05 * normal(20, 3, 36) if posedirs else None,
        scaledirs=normal(2, 5, 3),
        transdirs=normal(2, 5, 3),
        limits=torch.full((5,), 0.7, dtype=torch.float64),
    )


def made_up_pose(count: int = 2, seed: int = 1) -> BodyPose:
    """Everything of a pose of `made_up_body`, drawn at random."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    return BodyPose(
        axis_angle_to_matrix(normal(count, 5, 3)),
        normal(count, 3),
        normal(count, 3),
        0.2 * normal(count, 5, 3),
        0.1 * normal(count, 5, 3),
        normal(count, 1).exp(),
    )
