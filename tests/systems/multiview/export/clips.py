"""Clips for tests: bodies of every kind that files have to hold, moved at random."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.motion import BodyMotion
from refkp.systems.multiview.body.posing import JointsOnly, PosedBody, pose_body
from refkp.systems.multiview.body.species import species_body
from refkp.systems.multiview.export import Clip


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _blended(seed: int, *, static: bool, posed: bool, most: int) -> Body:
    """Seven joints, 40 vertices, of which each follows up to `most` joints; two bones have no length."""
    parents = (-1, 0, 1, 1, 0, 4, 5)
    vertices = draw(seed, 40, 3)
    weights = draw(seed + 1, 40, 7).abs()
    weights *= weights >= weights.topk(most, dim=1).values[:, -1:]
    regressor = draw(seed + 2, 7, 40).abs()
    regressor /= regressor.sum(1, keepdim=True)
    regressor[3], regressor[6] = regressor[1], regressor[5]
    faces = torch.stack((torch.arange(38), torch.arange(1, 39), torch.arange(2, 40)), dim=1)
    body = Body(
        vertices=vertices,
        faces=faces,
        weights=weights / weights.sum(1, keepdim=True),
        parents=parents,
        joint_names=tuple(f"joint {number}" for number in range(7)),
        rest_joints=regressor @ vertices,
        regressor=None if static else regressor,
        shapedirs=0.1 * draw(seed + 3, 40, 3, 4),
    )
    if not posed:
        return body
    posedirs = 0.05 * draw(seed + 4, 40, 3, 54)
    posedirs[..., 9:18] = 0
    return replace(body, posedirs=posedirs)


def bodies() -> dict[str, Body]:
    """Name -> a body, float64: three animals of bones, and those with what files of SMIL and SMAL models have."""
    species = {name: species_body(name).to(dtype=torch.float64) for name in ("insect", "mouse", "quadruped")}
    return {
        **species,
        "regressed": _blended(1, static=False, posed=False, most=4),
        "static": _blended(11, static=True, posed=False, most=7),
        "with pose blend shapes": _blended(21, static=False, posed=True, most=5),
        "with pose blend shapes of zeros": replace(
            _blended(31, static=True, posed=False, most=2), posedirs=torch.zeros(40, 3, 54).double()
        ),
    }


def moving(body: Body, *, num_frames: int = 12, size: float = 60.0, seed: int = 5, **of_clip: object) -> Clip:
    """A clip in which every joint turns, the root all the way round, at a size other than 1, with offsets of joints."""
    joints, time = body.num_joints, torch.linspace(0, 1, num_frames).double()[:, None, None]
    swing = 0.7 * draw(seed, 1, joints, 3) * torch.sin(6 * time + draw(seed + 1, 1, joints, 1))
    swing[:, 0] = draw(seed + 2, 3) + 7.0 * time[:, 0] * torch.tensor([0.1, 0.2, 1.0]).double()
    motion = BodyMotion(
        frames=torch.arange(100, 100 + num_frames),
        rotations=axis_angle_to_matrix(swing),
        trans=size * (draw(seed + 3, 3) + time[:, 0] * draw(seed + 4, 3)),
        betas=0.8 * draw(seed + 5, body.num_betas),
        offsets=0.02 * draw(seed + 6, joints, 3),
        size=torch.tensor(size).double(),
    )
    return Clip(body, motion, **{"fps": 30.0, "body_name": "made up", **of_clip})  # type: ignore[arg-type]


def posed(clip: Clip) -> PosedBody:
    """What every file of a clip has to give back."""
    body, motion = clip.in_double()
    return pose_body(body, motion.pose())


def centres(clip: Clip) -> Tensor:
    """The points [F,J,3] that the joints turn about."""
    body, motion = clip.in_double()
    return JointsOnly(body).parts(motion.pose()).centres(motion.pose())


def size_of(clip: Clip) -> float:
    """The longest side of the animal at rest, in the world: what errors are told by."""
    return clip.body.length * float(clip.motion.size)
