"""The viewing sphere: directions, equirectangular (ERP) pixel indices, view rotations and tiles on it.

Axes are x right, y up, z forward. Longitude is 0 in the middle of an ERP image and grows to the right,
latitude grows upwards. A rotation is `world_from_camera`: it takes a camera ray (t, s, 1), t to the right and
s up, to a direction. Everything keeps the dtype of its tensors; Python numbers become float64. Source: spec
panorama 1.1, 1.2 and 2.4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refkp._checks import fail

Angle = float | Tensor


def view_rotation(yaw_deg: Angle, pitch_deg: Angle = 0.0, roll_deg: Angle = 0.0) -> Tensor:
    """The rotation `world_from_camera` = Ry(yaw) Rx(pitch) Rz(roll) of a view.

    Yaw > 0 looks right, pitch > 0 looks up, roll > 0 turns the camera clockwise (its right edge looks down).

    Args:
        yaw_deg, pitch_deg, roll_deg: degrees, numbers or tensors of shapes that broadcast to [...].

    Returns:
        [...,3,3]. Gradients reach all three angles.

    >>> (view_rotation(90.0)[:, 2] > 0.5).tolist()  # the optical axis points right
    [True, False, False]
    """
    yaw, pitch, roll = (torch.deg2rad(angle) for angle in _angles(yaw_deg, pitch_deg, roll_deg))
    return _about_y(yaw) @ _about_x(pitch) @ _about_z(roll)


def equilib_rotation(roll: Angle, pitch: Angle, yaw: Angle, z_down: bool = False) -> Tensor:
    """`world_from_camera` of a view given by equilib's angles, in radians.

    equilib turns by Rz(yaw) Ry(pitch) Rx(roll) in (X forward, Y right, Z down). With `z_down=False` yaw > 0
    looks LEFT and pitch > 0 DOWN, with `z_down=True` right and up; roll > 0 always turns the camera
    clockwise.

    Returns:
        [...,3,3] in the axes of this module. Gradients reach all three angles.
    """
    roll, pitch, yaw = _angles(roll, pitch, yaw)
    sign = 1.0 if z_down else -1.0
    return _about_y(sign * yaw) @ _about_x(sign * pitch) @ _about_z(roll)


def _angles(*angles: Angle) -> tuple[Tensor, ...]:
    tensors = [angle for angle in angles if isinstance(angle, Tensor)]
    dtype = tensors[0].dtype if tensors else torch.float64
    device = tensors[0].device if tensors else None
    return torch.broadcast_tensors(*(torch.as_tensor(angle, dtype=dtype, device=device) for angle in angles))


def _about_x(pitch: Tensor) -> Tensor:
    cos, sin, zero, one = _entries(pitch)
    return _matrix((one, zero, zero), (zero, cos, sin), (zero, -sin, cos))


def _about_y(yaw: Tensor) -> Tensor:
    cos, sin, zero, one = _entries(yaw)
    return _matrix((cos, zero, sin), (zero, one, zero), (-sin, zero, cos))


def _about_z(roll: Tensor) -> Tensor:
    cos, sin, zero, one = _entries(roll)
    return _matrix((cos, sin, zero), (-sin, cos, zero), (zero, zero, one))


def _entries(angle: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)


def _matrix(*rows: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def random_rotation(count: int, *, generator: torch.Generator | None = None) -> Tensor:
    """`count` rotations [count,3,3] (float64), uniform over all orientations: normalised Gaussian
    quaternions.
    """
    quaternion = torch.randn(count, 4, dtype=torch.float64, generator=generator)
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    return _matrix(
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )


def direction_from_lonlat(lon: Tensor, lat: Tensor) -> Tensor:
    """Unit directions [...,3] of longitudes and latitudes [...] in radians."""
    return torch.stack((lat.cos() * lon.sin(), lat.sin(), lat.cos() * lon.cos()), -1)


def lonlat_from_direction(direction: Tensor) -> tuple[Tensor, Tensor]:
    """Longitude in (-pi, pi] and latitude in radians, each [...], of directions [...,3] of any length.

    The latitude is atan2(y, hypot(x, z)): asin(y / |d|) loses half of the digits at the poles.
    """
    x, y, z = direction.unbind(-1)
    return torch.atan2(x, z), torch.atan2(y, torch.hypot(x, z))


def erp_from_direction(direction: Tensor, height: int, width: int) -> Tensor:
    """Continuous ERP pixel index (column, row) [...,2] of directions [...,3]; an integer is a pixel centre.

    column = (lon / 2pi + 1/2) W - 1/2, row = (1/2 - lat / pi) H - 1/2, not wrapped.
    """
    lon, lat = lonlat_from_direction(direction)
    column = (lon / (2 * math.pi) + 0.5) * width - 0.5
    row = (0.5 - lat / math.pi) * height - 0.5
    return torch.stack((column, row), -1)


def direction_from_erp(index: Tensor, height: int, width: int) -> Tensor:
    """Unit directions [...,3] of continuous ERP pixel indices (column, row) [...,2]."""
    column, row = index.unbind(-1)
    lon = ((column + 0.5) / width - 0.5) * (2 * math.pi)
    lat = (0.5 - (row + 0.5) / height) * math.pi
    return direction_from_lonlat(lon, lat)


def erp_directions(height: int, width: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Unit directions [height,width,3] of all pixel centres of an ERP image."""
    row, column = torch.meshgrid(
        torch.arange(height, dtype=dtype), torch.arange(width, dtype=dtype), indexing="ij"
    )
    return direction_from_erp(torch.stack((column, row), -1), height, width)


def great_circle_distance(a: Tensor, b: Tensor) -> Tensor:
    """The angle in radians [...] between directions [...,3]: atan2(|a x b|, a . b), exact for near and
    opposite ones.
    """
    a, b = torch.broadcast_tensors(a, b)
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))


def half_tangents(hfov_deg: Angle, vfov_deg: Angle) -> Tensor:
    """The tangents [...,2] of half the fields of view (horizontal, vertical); degrees in (0, 180)."""
    fov = torch.stack(_angles(hfov_deg, vfov_deg), -1)
    if not bool(((fov > 0) & (fov < 180)).all()):
        fail("half_tangents", "fov_deg", "inside (0,180)", fov.tolist())
    return torch.tan(torch.deg2rad(fov) / 2)


def tangent_grid(height: int, width: int, half_tangent: Tensor) -> Tensor:
    """Camera rays (t, s, 1) [...,height,width,3] of the cell centres of a tile with half tangents [...,2].

    t_c = (2 (c + 1/2) / width - 1) tan(hfov/2), s_r = (1 - 2 (r + 1/2) / height) tan(vfov/2).
    """
    t = (2 * torch.arange(width).to(half_tangent) + 1) / width - 1
    s = 1 - (2 * torch.arange(height).to(half_tangent) + 1) / height
    unit = torch.stack((t.expand(height, width), s[:, None].expand(height, width)), -1)
    tangents = unit * half_tangent[..., None, None, :]
    return torch.cat((tangents, torch.ones_like(tangents[..., :1])), -1)


def tile_solid_angle(half_tangent: Tensor) -> Tensor:
    """Solid angle in steradians [...] of tiles with half tangents (a, b) [...,2]: 4 asin(ab /
    sqrt((1+a^2)(1+b^2))).
    """
    a, b = half_tangent.unbind(-1)
    return 4 * torch.asin(a * b / torch.sqrt((1 + a * a) * (1 + b * b)))


def tile_contains(rotation: Tensor, half_tangent: Tensor, direction: Tensor) -> Tensor:
    """Whether the tiles [N,3,3], [N,2] contain the directions [...,3]; bool [N,...]."""
    t, s, depth = torch.einsum("nji,...j->in...", rotation, direction)
    a, b = (limit.reshape(-1, *[1] * (direction.dim() - 1)) for limit in half_tangent.unbind(-1))
    return (t.abs() <= a * depth) & (s.abs() <= b * depth)


def tile_outline(rotation: Tensor, half_tangent: Tensor, samples: int = 64) -> Tensor:
    """Directions [4 samples + 1,3] along the border of a tile [3,3], [2]: a closed line from its lower left
    corner.
    """
    step = torch.linspace(-1, 1, samples + 1, dtype=rotation.dtype)[:-1]
    edge = torch.ones_like(step)
    t = torch.cat((step, edge, -step, -edge, -edge[:1]))
    s = torch.cat((-edge, step, edge, -step, -edge[:1]))
    ray = torch.stack((t * half_tangent[0], s * half_tangent[1], torch.ones_like(t)), -1)
    return ray @ rotation.mT


def intersection_solid_angle(
    rotation_a: Tensor, half_tangent_a: Tensor, rotation_b: Tensor, half_tangent_b: Tensor
) -> float:
    """Solid angle in steradians of the directions that two tiles share, exact up to rounding.

    A tile is a convex cone, so the corners of A clipped by the four sides of B give the shared spherical
    polygon (Sutherland and Hodgman), and a fan of spherical triangles its area (Van Oosterom and Strackee
    1983).

    Args:
        rotation_a, rotation_b: [3,3] `world_from_camera`.
        half_tangent_a, half_tangent_b: [2] tangents of half the fields of view.
    """
    relative = (rotation_b.mT @ rotation_a).double()
    a, b = (float(tangent) for tangent in half_tangent_a)
    corners = [(-a, -b), (a, -b), (a, b), (-a, b)]
    polygon = [tuple((relative @ relative.new_tensor((t, s, 1.0))).tolist()) for t, s in corners]
    a, b = (float(tangent) for tangent in half_tangent_b)
    for side in ((1.0, 0.0, a), (-1.0, 0.0, a), (0.0, 1.0, b), (0.0, -1.0, b)):
        polygon = _clip(polygon, side)
    return sum((_triangle_angle(polygon[0], *polygon[i : i + 2]) for i in range(1, len(polygon) - 1)), 0.0)


Vector = tuple[float, float, float]


def _clip(polygon: list[Vector], normal: Vector) -> list[Vector]:
    """The part of a convex cone, given by its edges, where normal . d >= 0."""
    kept: list[Vector] = []
    for current, following in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        here, there = _dot(normal, current), _dot(normal, following)
        if here >= 0:
            kept.append(current)
        if (here > 0 > there) or (here < 0 < there):
            # A sum with positive weights lies on the edge, whatever the lengths of its two ends.
            kept.append(_blend(current, abs(there), following, abs(here)))
    return kept


def _blend(p: Vector, weight_p: float, q: Vector, weight_q: float) -> Vector:
    total = weight_p + weight_q
    a, b = weight_p / total, weight_q / total
    return a * p[0] + b * q[0], a * p[1] + b * q[1], a * p[2] + b * q[2]


def _triangle_angle(p: Vector, q: Vector, r: Vector) -> float:
    volume = _dot(p, (q[1] * r[2] - q[2] * r[1], q[2] * r[0] - q[0] * r[2], q[0] * r[1] - q[1] * r[0]))
    p_len, q_len, r_len = (math.sqrt(_dot(v, v)) for v in (p, q, r))
    denominator = p_len * q_len * r_len + _dot(p, q) * r_len + _dot(p, r) * q_len + _dot(q, r) * p_len
    return 2 * math.atan2(abs(volume), denominator)


def _dot(p: Vector, q: Vector) -> float:
    return p[0] * q[0] + p[1] * q[1] + p[2] * q[2]
