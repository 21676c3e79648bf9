"""A body from bones alone: every bone becomes a capsule, so that any species is there without a mesh of it.

The bone from a joint's parent to the joint is a capsule whose end, the last ring and the cap behind it, belongs to the
joint, and all before it to the parent. So a joint is the middle of the last ring of its capsule in every pose, also
when the bone gets longer (`BodyPose.offsets`), and the regressor says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from refkp._checks import fail
from refkp.systems.multiview.body.model import Body


class _Ring(NamedTuple):
    """Where the vertices around a capsule lie, and which joint moves them."""

    part: float  # of the bone, from the parent to the joint
    beyond: float  # along the bone from there, in radii
    radius: float  # in radii
    own: bool  # of the joint, not of its parent


#: The rings of a capsule, each of so many vertices; then its two poles follow. The joint is the middle of ring `_END`.
_RINGS = (
    _Ring(0.0, -math.sqrt(0.5), math.sqrt(0.5), False),
    _Ring(0.0, 0.0, 1.0, False),
    _Ring(0.5, 0.0, 1.0, False),
    _Ring(1.0, 0.0, 1.0, True),
    _Ring(1.0, math.sqrt(0.5), math.sqrt(0.5), True),
)
_START, _END, _AROUND = 1, 3, 8
_PER_CAPSULE = len(_RINGS) * _AROUND + 2

#: Of the length of its bone: the radius of a capsule whose radius nobody tells.
_THICKNESS = 0.12


class Bone(NamedTuple):
    """A joint, and the bone from its parent to it."""

    joint: str
    parent: str  # "" for the root
    place: tuple[float, float, float]  # of the joint at rest: x forward, y left, z up; any unit
    radius: float = 0.0  # of the capsule at the joint; 0: a share of the bone's length
    limit_deg: float = 180.0  # the largest angle by which the joint turns against rest
    start_radius: float = 0.0  # of the capsule at the parent; 0: the same as at the joint


class Shape(NamedTuple):
    """One way in which animals differ: what a unit of it adds to sizes, as shares of them."""

    lengths: Mapping[str, float]  # joint -> of its bone
    radii: Mapping[str, float]  # joint -> of its capsule


def skeleton_body(bones: Sequence[Bone], shapes: Sequence[Shape] = ()) -> Body:
    """The body of a table of bones.

    Args:
        bones: the root first, every parent before its children; at least two.
        shapes: ways in which animals differ, in the order of the body's `shapedirs`.

    Raises:
        ValueError: names that are missing or there twice, a bone without length, a radius that is negative.
    """
    names, parents = [bone.joint for bone in bones], _parents(bones)
    places = np.array([bone.place for bone in bones], dtype=np.float64)
    offsets = np.concatenate((places[:1], places[1:] - places[parents[1:]]))
    radii = _radii(bones, np.linalg.norm(offsets, axis=1))
    rest = _vertices(offsets, radii, parents)
    dirs = [np.zeros((0, *rest.shape))]
    for shape in shapes:
        longer, thicker = 1 + _shares(shape.lengths, names)[:, None], 1 + _shares(shape.radii, names)[:, None]
        dirs.append(_vertices(offsets * longer, radii * thicker, parents)[None] - rest)
    regressor = _regressor(parents)
    return Body(
        vertices=_float(rest),
        faces=_faces(len(bones) - 1),
        weights=_weights(parents),
        parents=tuple(parents),
        joint_names=tuple(names),
        rest_joints=regressor @ _float(rest),
        regressor=regressor,
        shapedirs=_float(np.concatenate(dirs).transpose(1, 2, 0)),
        trans_sign=(1.0, 1.0, 1.0),
        limits=torch.tensor([math.radians(bone.limit_deg) for bone in bones], dtype=torch.float32),
    )


def _parents(bones: Sequence[Bone]) -> list[int]:
    names = [bone.joint for bone in bones]
    if len(names) < 2 or len(set(names)) < len(names):
        fail("skeleton_body", "bones", "at least two, of different names", names)
    parents = []
    for index, bone in enumerate(bones):
        known = names[:index]
        if (bone.parent not in known) if index else bone.parent:
            rule = "the root first, with the parent '', then joints whose parents come before them"
            fail("skeleton_body", "bones", rule, f"{bone.joint!r} with the parent {bone.parent!r}")
        parents.append(names.index(bone.parent) if index else -1)
    return parents


def _radii(bones: Sequence[Bone], lengths: np.ndarray) -> np.ndarray:
    """[J,2], at the start and at the end of each bone; the root has none."""
    radii = np.zeros((len(bones), 2))
    for joint, (bone, length) in enumerate(zip(bones[1:], lengths[1:], strict=True), start=1):
        end = bone.radius or _THICKNESS * length
        radii[joint] = (bone.start_radius or end, end)
        if not (length > 0 and radii[joint].min() > 0 and math.isfinite(length + radii[joint].max())):
            got = f"length {length:g} and radii {radii[joint].tolist()} of {bone.joint!r}"
            fail("skeleton_body", "bones", "of a length and radii above 0", got)
    return radii


def _vertices(offsets: np.ndarray, radii: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """Vertices [N,3] of all capsules."""
    places, capsules = [offsets[0]], []
    angle = 2 * np.pi * np.arange(_AROUND) / _AROUND
    for joint in range(1, len(parents)):
        start, step = places[parents[joint]], offsets[joint]
        places.append(start + step)
        along, across, up = axes_along(step)
        around = np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * up
        for ring in _RINGS:
            radius = radii[joint] @ (1 - ring.part, ring.part)
            capsules.append(start + ring.part * step + radius * (ring.beyond * along + ring.radius * around))
        capsules.append(start + np.stack((-radii[joint, 0] * along, step + radii[joint, 1] * along)))
    return np.concatenate(capsules)


def axes_along(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three unit vectors [3] at right angles, right-handed: the first along `direction`, which is not 0."""
    along = direction / np.linalg.norm(direction)
    across = np.cross(along, np.eye(3)[np.abs(along).argmin()])
    across /= np.linalg.norm(across)
    return along, across, np.cross(along, across)


def _faces(capsules: int) -> torch.Tensor:
    step = torch.arange(_AROUND)
    following = (step + 1) % _AROUND
    faces = []
    for ring in range(len(_RINGS) - 1):
        a, b = ring * _AROUND + step, ring * _AROUND + following
        faces += [torch.stack((a, b, b + _AROUND), 1), torch.stack((a, b + _AROUND, a + _AROUND), 1)]
    last, pole = (len(_RINGS) - 1) * _AROUND, torch.full_like(step, _PER_CAPSULE - 2)
    faces += [
        torch.stack((pole, following, step), 1),
        torch.stack((pole + 1, last + step, last + following), 1),
    ]
    return torch.cat([torch.cat(faces) + capsule * _PER_CAPSULE for capsule in range(capsules)])


def _weights(parents: Sequence[int]) -> torch.Tensor:
    own = torch.tensor([ring.own for ring in _RINGS]).repeat_interleave(_AROUND)
    own = torch.cat((own, torch.tensor([False, True])))
    movers = [torch.where(own, joint, parents[joint]) for joint in range(1, len(parents))]
    return torch.nn.functional.one_hot(torch.cat(movers), len(parents)).float()


def _regressor(parents: Sequence[int]) -> torch.Tensor:
    """The middle of the last ring of a joint's capsule; of the root, of the first ring of its first child's."""
    regressor = torch.zeros(len(parents), _PER_CAPSULE * (len(parents) - 1))
    for joint in range(len(parents)):
        bone, ring = (joint, _END) if joint else (list(parents).index(0), _START)
        first = (bone - 1) * _PER_CAPSULE + ring * _AROUND
        regressor[joint, first : first + _AROUND] = 1 / _AROUND
    return regressor


def _shares(shares: Mapping[str, float], names: Sequence[str]) -> np.ndarray:
    unknown = [name for name in shares if name not in names]
    if unknown:
        fail("skeleton_body", "shapes", f"of joints of the body, {', '.join(names)}", ", ".join(unknown))
    return np.array([shares.get(name, 0.0) for name in names])


def _float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
