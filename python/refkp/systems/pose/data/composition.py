"""Where objects stand in a made-up picture, and how they are lit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from refkp.data.meshes import Mesh
from refkp.data.rendering import Light
from refkp.geometry import icosphere
from refkp.systems.pose.data.spec import GeneratorSpec

Array = NDArray[np.float64]

_TRIES = 30  # to find room for an object beside the first one


class Ball(NamedTuple):
    """A mesh as far as placing it goes."""

    diameter: float
    centre: Array  # [3], of its bounding box, in its own frame

    @classmethod
    def of(cls, mesh: Mesh) -> Ball:
        """The ball of a mesh."""
        return cls(float(mesh.diameter), mesh.centre)


class Composition(NamedTuple):
    """What stands where: first the labelled objects, then the occluders."""

    which: tuple[int, ...]  # index of the mesh, objects before occluders
    cam_from_obj: Array  # [n,4,4]
    num_objects: int


def compose(
    rng: np.random.Generator, spec: GeneratorSpec, objects: Sequence[Ball], occluders: Sequence[Ball]
) -> Composition:
    """Draw a composition; `which` counts `objects`, then `occluders`.

    The first object stands in the middle part of the picture. Others stand beside it where their balls find
    room; what finds none in a number of draws is left out.
    """
    balls = [*objects, *occluders]
    inverse_K = np.linalg.inv(spec.K).astype(np.float64)
    extent = np.array([spec.size[1], spec.size[0]])
    which = [int(index) for index in rng.integers(len(objects), size=rng.integers(1, spec.max_objects + 1))]
    depth = balls[which[0]].diameter * rng.uniform(*spec.distance)
    centres = [_point(inverse_K, extent * rng.uniform(0.25, 0.75, 2), depth)]
    placed = which[:1]
    for index in which[1:]:
        for _ in range(_TRIES):
            pixel, distance = extent * rng.uniform(0.05, 0.95, 2), depth * rng.uniform(0.8, 1.6)
            centre = _point(inverse_K, pixel, distance)
            if _has_room(centre, index, centres, placed, balls):
                centres.append(centre)
                placed.append(index)
                break
    num_objects = len(placed)
    for _ in range(int(rng.integers(spec.max_occluders + 1)) if occluders else 0):
        index = len(objects) + int(rng.integers(len(occluders)))
        hidden = int(rng.integers(num_objects))
        centre = _in_front(rng, centres[hidden], balls[placed[hidden]], balls[index])
        if _has_room(centre, index, centres, placed, balls):
            centres.append(centre)
            placed.append(index)
    rotations = _rotations(rng, len(placed), spec.max_inplane_deg)
    poses = np.tile(np.eye(4), (len(placed), 1, 1))
    poses[:, :3, :3] = rotations
    own = np.stack([balls[index].centre for index in placed])
    poses[:, :3, 3] = np.stack(centres) - np.einsum("nij,nj->ni", rotations, own)
    return Composition(tuple(placed), poses, num_objects)


def draw_light(rng: np.random.Generator) -> Light:
    """Ambient light and a lamp somewhere on the camera's side, both of varying strength and tint."""
    direction = rng.normal(size=3)
    direction[2] = -abs(direction[2]) - 0.2
    ambient = rng.uniform(0.25, 0.7)
    tint = rng.uniform(0.85, 1.1, 3)
    return Light(ambient, rng.uniform(0.3, 1.1 - 0.5 * ambient), tuple(direction), tuple(tint))


def _rotations(rng: np.random.Generator, count: int, max_inplane_deg: float) -> Array:
    """The camera anywhere on the sphere around the object, evenly, then turned about its axis: [count,3,3]."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    upright = icosphere.cam_from_obj(torch.from_numpy(directions)).numpy()[:, :3, :3]
    angle = np.radians(rng.uniform(-max_inplane_deg, max_inplane_deg, count))
    turn = np.zeros((count, 3, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
    turn[:, 1, 0], turn[:, 0, 1] = np.sin(angle), -np.sin(angle)
    turn[:, 2, 2] = 1
    return turn @ upright


def _point(inverse_K: Array, pixel: Array, depth: float) -> Array:
    return depth * inverse_K @ np.append(pixel, 1.0)


def _in_front(rng: np.random.Generator, centre: Array, hidden: Ball, occluder: Ball) -> Array:
    """A place between the camera and an object, a little beside the line of sight."""
    angle = rng.uniform(0, 2 * np.pi)
    aside = rng.uniform(0.25, 0.6) * hidden.diameter + 0.25 * occluder.diameter
    nearer = rng.uniform(1.05, 1.6) * (hidden.diameter + occluder.diameter) / 2
    share = max(0.0, 1 - nearer / float(np.linalg.norm(centre)))
    return share * (centre + aside * np.array([np.cos(angle), np.sin(angle), 0.0]))


def _has_room(
    centre: Array, index: int, centres: Sequence[Array], placed: Sequence[int], balls: Sequence[Ball]
) -> bool:
    """Whether a ball meets no other, and is a diameter away from the camera at least."""
    reach = [(balls[index].diameter + balls[other].diameter) / 2 for other in placed]
    return centre[2] >= balls[index].diameter and all(
        np.linalg.norm(centre - at) > free for at, free in zip(centres, reach, strict=True)
    )
