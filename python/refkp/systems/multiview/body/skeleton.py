"""A body from bones alone: every bone becomes a capsule, so that any species is there without a mesh of it.

The bone from a joint's parent to the joint is a capsule whose last part goes over from the parent to the joint, where it
belongs to the joint alone. So a joint is the middle of the last ring of its capsule in every pose, also when the bone
gets longer (`BodyPose.offsets`), and the regressor says so.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from refkp._checks import fail
from refkp.systems.multiview.body.model import Body

#: Where the rings of a capsule lie along its bone, and how many vertices each has.
_RINGS, _AROUND = (0.0, 0.25, 0.5, 0.75, 1.0), 8
#: From this part of a bone on, its joint takes over from the parent.
_TAKES_OVER = 0.5
#: Of the length of its bone: the radius of a capsule whose radius nobody tells; and the slope of a fan of bones.
_THICKNESS, _GOLDEN = 0.12, math.pi * (3 - math.sqrt(5))


class Bone(NamedTuple):
    """A joint, and the bone from its parent to it."""

    joint: str
    parent: str  # "" for the root
    place: tuple[float, float, float]  # of the joint at rest: x forward, y left, z up; any unit
    radius: float = 0.0  # of the capsule; 0: a share of the bone's length
    limit_deg: float = 180.0  # the largest angle by which the joint turns against rest


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
    names = [bone.joint for bone in bones]
    parents = _parents(bones)
    places = np.array([bone.place for bone in bones], dtype=np.float64)
    offsets = np.concatenate((places[:1], places[1:] - places[parents[1:]]))
    lengths = np.linalg.norm(offsets, axis=1)
    if len(bones) < 2 or not (lengths[1:] > 0).all():
        short = [name for name, length in zip(names[1:], lengths[1:], strict=True) if not length > 0]
        fail(
            "skeleton_body",
            "bones",
            "at least one, each longer than 0",
            f"{len(bones) - 1}, without length: {short}",
        )
    radii = np.array(
        [bone.radius or _THICKNESS * length for bone, length in zip(bones, lengths, strict=True)]
    )
    if not (radii[1:] > 0).all():
        fail("skeleton_body", "bones", "of radii that are not negative", radii.min())
    rest = _vertices(offsets, radii, parents)
    dirs = [
        _vertices(
            offsets * (1 + _of(shape.lengths, names))[:, None], radii * (1 + _of(shape.radii, names)), parents
        )
        - rest
        for shape in shapes
    ]
    regressor = _regressor(parents)
    return Body(
        vertices=_float(rest),
        faces=_faces(len(bones) - 1),
        weights=_weights(parents),
        parents=tuple(parents),
        joint_names=tuple(names),
        rest_joints=regressor @ _float(rest),
        regressor=regressor,
        shapedirs=_float(np.stack(dirs, -1)) if dirs else torch.zeros(*rest.shape, 0),
        trans_sign=(1.0, 1.0, 1.0),
        limits=torch.tensor([math.radians(bone.limit_deg) for bone in bones], dtype=torch.float32),
    )


def read_skeleton(path: Path | str) -> list[Bone]:
    """Bones of a CSV file with the columns `joint` and `parent`, and either `x,y,z` of the joints or `length`.

    `radius` and `limit_deg` may stand beside them. From lengths alone the bones of a joint fan out from the direction
    of its own. Rows may come in any order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: columns that are missing, a number that is none, parents that form no tree.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = [{name: (value or "").strip() for name, value in row.items() if name} for row in reader]
    with_places = {"x", "y", "z"} <= set(columns)
    if not {"joint", "parent"} <= set(columns) or not (with_places or "length" in columns):
        rule = "with the columns joint, parent, and x,y,z or length"
        fail("read_skeleton", str(path), rule, ", ".join(columns) or "an empty file")
    ordered = _ordered(rows, str(path))
    places: dict[str, np.ndarray] = {}
    for row in ordered:
        if with_places:
            places[row["joint"]] = np.array([_number(row, name, str(path)) for name in "xyz"])
        else:
            places[row["joint"]] = _fanned(row, ordered, places, str(path))
    return [
        Bone(
            row["joint"],
            row["parent"],
            tuple(places[row["joint"]].tolist()),
            _number(row, "radius", str(path), 0.0),
            _number(row, "limit_deg", str(path), 180.0),
        )
        for row in ordered
    ]


def _parents(bones: Sequence[Bone]) -> list[int]:
    names = [bone.joint for bone in bones]
    if len(set(names)) < len(names):
        fail("skeleton_body", "bones", "of different names", names)
    parents = []
    for index, bone in enumerate(bones):
        known = names[:index]
        if (bone.parent not in known) if index else bone.parent:
            rule = "the root first, with the parent '', then joints whose parents come before them"
            fail("skeleton_body", "bones", rule, f"{bone.joint!r} with the parent {bone.parent!r}")
        parents.append(names.index(bone.parent) if index else -1)
    return parents


def _vertices(offsets: np.ndarray, radii: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """Vertices [N,3] of all capsules: the rings from parent to joint, then the two poles."""
    places = [offsets[0]]
    for joint in range(1, len(parents)):
        places.append(places[parents[joint]] + offsets[joint])
    angle = 2 * np.pi * np.arange(_AROUND) / _AROUND
    capsules = []
    for joint in range(1, len(parents)):
        start, end, radius = places[parents[joint]], places[joint], radii[joint]
        along, across, up = _axes(offsets[joint])
        ring = radius * (np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * up)
        rings = [start + part * (end - start) + ring for part in _RINGS]
        poles = np.stack((start - radius * along, end + radius * along))
        capsules.append(np.concatenate((*rings, poles)))
    return np.concatenate(capsules)


def _axes(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    along = direction / np.linalg.norm(direction)
    across = np.cross(along, np.eye(3)[np.abs(along).argmin()])
    across /= np.linalg.norm(across)
    return along, across, np.cross(along, across)


_PER_CAPSULE = len(_RINGS) * _AROUND + 2


def _faces(capsules: int) -> torch.Tensor:
    faces = []
    for ring in range(len(_RINGS) - 1):
        for step in range(_AROUND):
            a, b = ring * _AROUND + step, ring * _AROUND + (step + 1) % _AROUND
            faces += [(a, b, b + _AROUND), (a, b + _AROUND, a + _AROUND)]
    last, first_pole = (len(_RINGS) - 1) * _AROUND, _PER_CAPSULE - 2
    for step in range(_AROUND):
        following = (step + 1) % _AROUND
        faces += [(first_pole, following, step), (first_pole + 1, last + step, last + following)]
    of_one = torch.tensor(faces)
    return torch.cat([of_one + capsule * _PER_CAPSULE for capsule in range(capsules)])


def _weights(parents: Sequence[int]) -> torch.Tensor:
    part = np.concatenate((np.repeat(_RINGS, _AROUND), (0.0, 1.0)))
    own = np.clip((part - _TAKES_OVER) / (1 - _TAKES_OVER), 0, 1)
    weights = np.zeros((_PER_CAPSULE * (len(parents) - 1), len(parents)))
    for joint in range(1, len(parents)):
        rows = slice((joint - 1) * _PER_CAPSULE, joint * _PER_CAPSULE)
        weights[rows, joint], weights[rows, parents[joint]] = own, 1 - own
    return _float(weights)


def _regressor(parents: Sequence[int]) -> torch.Tensor:
    """The middle of the last ring of a joint's capsule; of the root, of the first ring of its first child's."""
    regressor = torch.zeros(len(parents), _PER_CAPSULE * (len(parents) - 1))
    last = (len(_RINGS) - 1) * _AROUND
    for joint in range(1, len(parents)):
        start = (joint - 1) * _PER_CAPSULE + last
        regressor[joint, start : start + _AROUND] = 1 / _AROUND
    start = (list(parents).index(0) - 1) * _PER_CAPSULE
    regressor[0, start : start + _AROUND] = 1 / _AROUND
    return regressor


def _of(shares: Mapping[str, float], names: Sequence[str]) -> np.ndarray:
    return np.array([shares.get(name, 0.0) for name in names])


def _float(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _ordered(rows: list[dict[str, str]], path: str) -> list[dict[str, str]]:
    """The rows with every parent before its children."""
    roots = [row for row in rows if not row["parent"]]
    if len(roots) != 1:
        fail("read_skeleton", path, "with one joint without a parent", [row["joint"] for row in roots])
    ordered, waiting = roots, [row for row in rows if row["parent"]]
    while waiting:
        known = {row["joint"] for row in ordered}
        ready = [row for row in waiting if row["parent"] in known]
        if not ready:
            got = f"{waiting[0]['joint']!r} with the parent {waiting[0]['parent']!r}"
            fail("read_skeleton", path, "a tree: every parent is a joint that hangs on the root", got)
        ordered, waiting = ordered + ready, [row for row in waiting if row not in ready]
    return ordered


def _number(row: Mapping[str, str], name: str, path: str, default: float | None = None) -> float:
    text = row.get(name, "")
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        fail("read_skeleton", path, f"with a number as {name} of {row['joint']!r}", repr(text))
    return value


def _fanned(
    row: Mapping[str, str],
    rows: Sequence[Mapping[str, str]],
    places: Mapping[str, np.ndarray],
    path: str,
) -> np.ndarray:
    """The place of a joint whose bone has a length and no direction."""
    if not row["parent"]:
        return np.zeros(3)
    siblings = [other["joint"] for other in rows if other["parent"] == row["parent"]]
    above = next(other["parent"] for other in rows if other["joint"] == row["parent"])
    onwards = places[row["parent"]] - places[above] if above else np.array([1.0, 0.0, 0.0])
    along, across, up = _axes(onwards)
    number = siblings.index(row["joint"])
    tilt = (
        math.radians(60) * number / max(1, len(siblings) - 1) if above else math.pi * number / len(siblings)
    )
    turn = _GOLDEN * number
    direction = math.cos(tilt) * along + math.sin(tilt) * (math.cos(turn) * across + math.sin(turn) * up)
    return places[row["parent"]] + _number(row, "length", path) * direction
