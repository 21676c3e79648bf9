"""How a made-up animal moves: a body that walks a bent loop, its limbs swinging about their joints."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from refkp.geometry.kinematics import depths
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose

_STRIDE = 0.6  # body lengths in a cycle of the legs
_SPEED = 1.6  # body lengths in a second
_ARENA = 0.9  # radius of the walk, body lengths
#: How far joints swing that no gait tells of, in degrees, and how many cycles in one of the legs.
_SWING_DEG, _SWING_CYCLES = 18.0, (0.3, 1.0)


class Swing(NamedTuple):
    """A joint that swings: angle * sin(cycles * (phase of the legs) + shift) about an axis of its own."""

    axis: tuple[float, float, float]
    angle_deg: float
    cycles: float = 1.0
    shift: float = 0.0


_LEFT, _UP = (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)

#: The trot of the quadruped: joint -> its swings.
_TROT: dict[str, tuple[Swing, ...]] = {
    "shoulder_left": (Swing(_LEFT, 34.0), Swing((1.0, 0.0, 0.0), 6.0, 2.0)),
    "hip_right": (Swing(_LEFT, 34.0), Swing((1.0, 0.0, 0.0), 6.0, 2.0)),
    "shoulder_right": (Swing(_LEFT, 34.0, shift=np.pi), Swing((1.0, 0.0, 0.0), 6.0, 2.0, np.pi)),
    "hip_left": (Swing(_LEFT, 34.0, shift=np.pi), Swing((1.0, 0.0, 0.0), 6.0, 2.0, np.pi)),
    "tail_base": (Swing(_UP, 7.0, 0.5, 0.2),),
    "tail_middle": (Swing(_UP, 20.0, 0.5, 0.9),),
    "neck": (Swing(_UP, 14.0, 0.26),),
    "head": (Swing(_UP, 24.0, 0.26, 0.3), Swing(_LEFT, 12.0, 0.4)),
}


def walk(
    body: Body, num_frames: int, body_length: float, fps: float, rng: np.random.Generator, size: float = 1.0
) -> BodyPose:
    """Poses of a body that walks on the floor z = 0 about the origin.

    Args:
        body: which; the quadruped trots, others swing their joints within their limits as it comes.
        num_frames, fps: how long, how often.
        body_length: of a unit of the body, in the unit of the world; places and speed are told in it.
        rng: of the walk.
        size: of this animal against a mean one.

    Returns:
        BodyPose of F bodies, float64, without shape.
    """
    time = np.arange(num_frames) / fps
    phase, direction = rng.uniform(0, 2 * np.pi), rng.choice([-1.0, 1.0])
    angle = phase + direction * _SPEED / _ARENA * time
    radius = _ARENA * (1 + 0.25 * np.sin(2 * angle + rng.uniform(0, 2 * np.pi)))
    heading = angle + direction * np.pi / 2
    cycle = 2 * np.pi * _SPEED / _STRIDE * time
    rotations = _swung(body, cycle, rng)
    rotations[:, 0] = (
        axis_angle_to_matrix(torch.from_numpy(heading[:, None] * np.array(_UP))) @ rotations[:, 0]
    )
    height = _height(body) * size + 0.02 * np.sin(2 * cycle)
    place = np.stack((radius * np.cos(angle), radius * np.sin(angle), height), -1)
    return BodyPose(
        rotations,
        torch.from_numpy(place * body_length),
        size=torch.full((num_frames, 1), body_length * size, dtype=torch.float64),
    )


def _height(body: Body) -> float:
    """Of the root above the lowest joint at rest, in units of the body."""
    heights = body.rest_joints[:, 2]
    return float(heights[0] - heights.min())


def _swung(body: Body, cycle: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Rotations float64 [F,J,3,3] of joints that swing."""
    moves = {index for index, depth in enumerate(depths(body.parents)) if depth and index in body.parents}
    rotations = torch.eye(3, dtype=torch.float64).repeat(len(cycle), body.num_joints, 1, 1)
    for joint in sorted(moves):
        name = body.joint_names[joint]
        swings = _TROT.get(name, ()) if set(_TROT) <= set(body.joint_names) else _any_swings(body, joint, rng)
        for swing in swings:
            turn = np.radians(swing.angle_deg) * np.sin(swing.cycles * cycle + swing.shift)
            axis = np.array(swing.axis) / np.linalg.norm(swing.axis)
            about = axis_angle_to_matrix(torch.from_numpy(turn[:, None] * axis))
            rotations[:, joint] = rotations[:, joint] @ about
    return rotations


def _any_swings(body: Body, joint: int, rng: np.random.Generator) -> tuple[Swing, ...]:
    limit = 180.0 if body.limits is None else float(torch.rad2deg(body.limits[joint]))
    angle = min(_SWING_DEG, limit / 2)
    return tuple(
        Swing(
            tuple(rng.normal(size=3)),
            angle,
            float(rng.uniform(*_SWING_CYCLES)),
            float(rng.uniform(0, 2 * np.pi)),
        )
        for _ in range(2)
    )
