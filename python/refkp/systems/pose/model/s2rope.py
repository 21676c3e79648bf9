"""Rotary codes of the sphere: template tokens turn with the direction from which their template sees the object.

Channel pairs are interleaved, D = 2 (x + y + 6 face): first the pairs of the column, then of the row, then those
of six faces around a reference direction. Two forms of the face phases: `published_phases`, the definition of
the original with its jumps, and `smooth_phases`, which are continuous on the whole sphere and, in a frame that
turns with the object, do not depend on the object's frame. Source: spec pose 1.3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from refkp._checks import fail, require_trailing
from refkp.nn.rotary import Rotary, rotary

NUM_FACES = 6

#: A direction nearer to an axis than this, in radians, is taken as on it: float32 tells directions apart to 1e-7.
_ON_AXIS = 1e-6


class SphereSplit(NamedTuple):
    """How many channel pairs turn with what."""

    x: int
    y: int
    face: int  # each of six

    @property
    def channels(self) -> int:
        """D, the size of a head."""
        return 2 * (self.x + self.y + NUM_FACES * self.face)


class Faces(NamedTuple):
    """Six directions around a reference, each with two axes of its tangent plane; normal = v x w."""

    normal: Tensor  # [...,6,3]: r, -r, e1, -e1, e2, -e2
    v: Tensor  # [...,6,3]
    w: Tensor  # [...,6,3]


def automatic_split(head_dim: int) -> SphereSplit:
    """The split of the original: faces about a quarter of the pairs, the rest for the column and the row.

    Raises:
        ValueError: `head_dim` below 16 or odd.

    >>> automatic_split(64)
    SphereSplit(x=13, y=13, face=1)
    """
    if head_dim < 16 or head_dim % 2:
        fail("automatic_split", "head_dim", "even and at least 16", head_dim)
    pairs = head_dim // 2
    face = max(1, pairs // 4 // NUM_FACES)
    x = (pairs - NUM_FACES * face) // 2
    return SphereSplit(x, pairs - NUM_FACES * face - x, face)


def planar_phases(positions: Tensor, split: SphereSplit, base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Phases of the column and of the row: column * base^(-k/x) and row * base^(-k/y).

    Args:
        positions: [...,2] row and column.
        split: how many of each.
        base: of the frequencies.

    Returns:
        [...,x] and [...,y] in at least float32.
    """
    require_trailing("planar_phases", "positions", positions, "2")
    positions = positions.to(torch.promote_types(positions.dtype, torch.float32))
    row, column = positions.unsqueeze(-1).unbind(-2)
    return column * _decay(split.x, base, positions), row * _decay(split.y, base, positions)


def reference_faces(reference: Tensor) -> Faces:
    """The faces around a unit direction alone: r, -r, e1, -e1, e2, -e2.

    e1 is the part of an axis a orthogonal to r, e2 = r x e1; a is z where |r_z| < 0.9, else y. The axes of a face
    f come in the same way, v from f and w = f x v. Since a is an axis of the object's frame, the faces do not
    follow a turn of that frame, and they jump where |r_z| = 0.9.

    Args:
        reference: [...,3] unit.
    """
    require_trailing("reference_faces", "reference", reference, "3")
    e1, e2 = _tangent_axes(reference)
    normal = _plus_minus(reference, e1, e2)
    return Faces(normal, *_tangent_axes(normal))


def frame_faces(frame: Tensor) -> Faces:
    """The faces of a frame that turns with the object, so that phases do not depend on the object's frame.

    Args:
        frame: [...,3,3], rows r, e1, e2: orthonormal and right handed, in the object's frame.
    """
    require_trailing("frame_faces", "frame", frame, "3,3")
    r, e1, e2 = frame.unbind(-2)
    normal = _plus_minus(r, e1, e2)
    v = torch.stack((e1, e1, e2, e2, r, r), -2)
    return Faces(normal, v, torch.linalg.cross(normal, v))


def published_phases(
    directions: Tensor, faces: Faces, count: int, base: float = 10000.0, mask: Tensor | None = None
) -> Tensor:
    """Face phases of the original: angle from the face, then azimuth around it, at falling frequencies.

    With d a view and f a face, gamma = acos(d.f) and phi = the azimuth of d in the axes of f. The first count // 2
    phases are gamma * base^(-k/(count//2)), the rest phi * base^(-k/rest): with count 1 there is no gamma.
    At phi = pi the turn jumps for k > 0. A view on the axis of a face, as the anchor is, has no azimuth: phi = 0.

    Args:
        directions: [...,S,3] unit, object to camera.
        faces: [...,6,3].
        count: phases per face.
        base: of the frequencies.
        mask: bool [...,S]; False gives zero phases.

    Returns:
        [...,S,6,count]; no gradient is meant.
    """
    toward = _dot(directions, faces.normal).clamp(-1, 1)
    gamma = toward.acos()
    tangent = directions.unsqueeze(-2) - toward.unsqueeze(-1) * faces.normal.unsqueeze(-3)
    # On the axis only rounding would be left, and with it any azimuth at all.
    on_axis = torch.linalg.vector_norm(tangent, dim=-1, keepdim=True) < _ON_AXIS
    tangent = functional.normalize(tangent, dim=-1).masked_fill(on_axis, 0.0)
    along_v, along_w = ((tangent * axis.unsqueeze(-3)).sum(-1) for axis in (faces.v, faces.w))
    phi = torch.atan2(gamma * along_w, gamma * along_v)
    radial = count // 2
    phases = (
        gamma.unsqueeze(-1) * _decay(radial, base, gamma),
        phi.unsqueeze(-1) * _decay(count - radial, base, phi),
    )
    return _masked(torch.cat(phases, -1), mask)


def smooth_phases(
    directions: Tensor, faces: Faces, count: int, base: float = 100.0, mask: Tensor | None = None
) -> Tensor:
    """Face phases without jumps: cos(gamma), and whole multiples of the azimuth weighted by sin(gamma).

    The first (count + 1) // 2 phases are pi cos(gamma) base^(-k/..), the others pi sin(gamma) cos(m phi) on the
    faces r, e1, e2 and pi sin(gamma) sin(m phi) on the opposite ones, m = 1, 2, ... All are continuous functions
    of the direction, at the poles of a face too.

    Args and Returns: as of `published_phases`.
    """
    toward = _dot(directions, faces.normal)
    along_v, along_w = _dot(directions, faces.v), _dot(directions, faces.w)
    radial = (count + 1) // 2
    phases = [math.pi * toward.unsqueeze(-1) * _decay(radial, base, toward)]
    if count > radial:
        multiples = torch.arange(1, count - radial + 1, device=toward.device, dtype=toward.dtype)
        azimuth = torch.atan2(along_w, along_v).unsqueeze(-1) * multiples
        waves = torch.where(_opposite(azimuth.device)[:, None], azimuth.sin(), azimuth.cos())
        phases.append(math.pi * torch.hypot(along_v, along_w).unsqueeze(-1) * waves)
    return _masked(torch.cat(phases, -1), mask)


def s2_rotary(phases_x: Tensor, phases_y: Tensor, phases_face: Tensor, mask: Tensor | None = None) -> Rotary:
    """The code of tokens [...,D] in the order x, y, face after face; pairs are neighbours (2k, 2k+1).

    Args:
        phases_x, phases_y: [...,x] and [...,y].
        phases_face: [...,6,face].
        mask: bool [...]; False leaves a token as it is.
    """
    phases = torch.cat((phases_x, phases_y, phases_face.flatten(-2)), -1)
    return rotary(phases.unsqueeze(-2), interleaved=True, mask=mask)


def _tangent_axes(direction: Tensor) -> tuple[Tensor, Tensor]:
    """Two axes of the plane orthogonal to unit directions [...,3]: from z, or from y near the poles."""
    y, z = direction.new_tensor((0.0, 1.0, 0.0)), direction.new_tensor((0.0, 0.0, 1.0))
    axis = torch.where(direction[..., 2:].abs() < 0.9, z, y)
    v = functional.normalize(axis - (axis * direction).sum(-1, keepdim=True) * direction, dim=-1)
    return v, torch.linalg.cross(direction, v)


def _plus_minus(r: Tensor, e1: Tensor, e2: Tensor) -> Tensor:
    return torch.stack((r, -r, e1, -e1, e2, -e2), -2)


def _opposite(device: torch.device) -> Tensor:
    """Which faces are the negative of the one before."""
    return torch.arange(NUM_FACES, device=device) % 2 == 1


def _dot(directions: Tensor, axes: Tensor) -> Tensor:
    """[...,S,3] and [...,6,3] -> [...,S,6]; not a matrix product, which mixed precision would round."""
    return (directions.unsqueeze(-2) * axes.unsqueeze(-3)).sum(-1)


def _decay(count: int, base: float, like: Tensor) -> Tensor:
    """base^(-k/count), k < count."""
    return base ** -(torch.arange(count, device=like.device, dtype=like.dtype) / max(count, 1))


def _masked(phases: Tensor, mask: Tensor | None) -> Tensor:
    return phases if mask is None else phases.where(mask[..., None, None], 0.0)
