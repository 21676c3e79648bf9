"""Template views on the icosphere: 42, 162 or 642 cameras that look at an object from all sides.

The views are the vertices of an icosahedron with two vertices on the z axis, subdivided by edge midpoints
that are pushed to the unit sphere. The template sets in circulation (GigaPose) store them sorted by
elevation, then azimuth atan2(x, y), computed from rounded vertices: an icosahedron of radius 200 given to
about 1e-3, and float32 midpoints. Views of one elevation are therefore ordered by rounding. So that our
numbering of views is theirs, the same mesh is rebuilt with the same rounding, which depends on the
direction of each edge, and its order is given to the exact directions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from refkp._checks import fail, require_trailing

# Vertices 0 and 11 are the poles; 1-5 lie below the equator at azimuths -36, -108, ... degrees (from x
# towards y), 6-10 above it at -72, -144, ... degrees.
_ROUNDED_VERTICES = (
    (0.0, 0.0, -200.0),
    (144.72, -105.144, -89.443),
    (-55.277, -170.128, -89.443),
    (-178.885, 0.0, -89.443),
    (-55.277, 170.128, -89.443),
    (144.72, 105.144, -89.443),
    (55.277, -170.128, 89.443),
    (-144.72, -105.144, 89.443),
    (-144.72, 105.144, 89.443),
    (55.277, 170.128, 89.443),
    (178.885, 0.0, 89.443),
    (0.0, 0.0, 200.0),
)
_FACES = (
    *((0, 1, 2), (1, 0, 5), (0, 2, 3), (0, 3, 4), (0, 4, 5)),
    *((1, 5, 10), (2, 1, 6), (3, 2, 7), (4, 3, 8), (5, 4, 9)),
    *((1, 10, 6), (2, 6, 7), (3, 7, 8), (4, 8, 9), (5, 9, 10)),
    *((6, 10, 11), (7, 6, 11), (8, 7, 11), (9, 8, 11), (10, 9, 11)),
)

Face = tuple[int, int, int]
Edge = tuple[int, int]
Points = npt.NDArray[np.floating]


class _Mesh(NamedTuple):
    points: list[Points]  # the vertices, each [3]
    faces: list[Face]
    edges: list[Edge]  # each edge once, in the direction in which its midpoint is computed


def num_icosphere_views(level: int) -> int:
    """Number of views of a level: 42, 162, 642, ...

    >>> [num_icosphere_views(level) for level in range(3)]
    [42, 162, 642]
    """
    if level < 0:
        fail("num_icosphere_views", "level", ">= 0", level)
    return 10 * 4 ** (level + 1) + 2


def icosphere_views(level: int, *, rounded: bool = False) -> Tensor:
    """Directions from the object to the cameras, in the order of the template sets in circulation.

    Args:
        level: 0, 1 or 2 for 42, 162 or 642 views (higher levels work, too).
        rounded: give the vertices as those files hold them: float32 numbers up to 1.3e-5 off the exact
            directions.

    Returns:
        [n,3], float64, unit vectors (of length 1 to float32 accuracy if `rounded`), in the object frame.

    Raises:
        ValueError: `level` is negative.

    Source: spec pose 2.1.

    >>> views = icosphere_views(1)
    >>> views.shape, views[0].tolist(), views[-1].tolist()
    (torch.Size([162, 3]), [0.0, 0.0, -1.0], [0.0, 0.0, 1.0])
    """
    num_views = num_icosphere_views(level)
    approximate = _subdivided(_rounded_icosahedron(), level, _project_rounded)
    order = sorted(range(num_views), key=lambda view: _elevation_azimuth(approximate[view]))
    points = approximate if rounded else _subdivided(_exact_icosahedron(), level, _project_exact)
    return torch.from_numpy(np.stack([points[view] for view in order]).astype(np.float64))


def obj_from_cam(positions: Tensor) -> Tensor:
    """Poses of cameras that look at the object's origin.

    Forward is z = -p/|p|, x = normalise((0,0,-1) x z) and y = z x x are the other axes (OpenCV: x right, y
    down), so the object's z axis points up in the image. Within 1e-3 of a pole, (0,-1,0) replaces (0,0,-1).

    Args:
        positions: [...,3], float, camera centres in the object frame, not zero.

    Returns:
        [...,4,4]: the columns x, y, z of the rotation, and the position.

    Raises:
        ValueError: the last axis is not 3.

    Source: spec pose 2.1.

    >>> obj_from_cam(torch.tensor([0.0, -2.0, 0.0])) + 0.0
    tensor([[ 1.,  0.,  0.,  0.],
            [ 0.,  0.,  1., -2.],
            [ 0., -1.,  0.,  0.],
            [ 0.,  0.,  0.,  1.]])
    """
    require_trailing("obj_from_cam", "positions", positions, "3")
    z = -positions / torch.linalg.vector_norm(positions, dim=-1, keepdim=True)
    polar = torch.linalg.vector_norm(z[..., :2], dim=-1, keepdim=True) < 1e-3
    down = torch.where(polar, z.new_tensor([0.0, -1.0, 0.0]), z.new_tensor([0.0, 0.0, -1.0]))
    x = torch.linalg.cross(down, z)
    x = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    rotation = torch.stack((x, torch.linalg.cross(z, x), z), dim=-1)
    return _rigid(rotation, positions)


def cam_from_obj(positions: Tensor) -> Tensor:
    """Object-to-camera poses of cameras that look at the object's origin: the inverse of `obj_from_cam`.

    The translation is (0, 0, |p|), and minus the third row of the rotation is the direction from object to
    camera.

    Args:
        positions: [...,3], float, camera centres in the object frame, not zero.

    Returns:
        [...,4,4].

    Raises:
        ValueError: the last axis is not 3.

    >>> cam_from_obj(torch.tensor([0.0, -2.0, 0.0]))[:3, 3] + 0.0
    tensor([0., 0., 2.])
    """
    pose = obj_from_cam(positions)
    rotation = pose[..., :3, :3].mT
    return _rigid(rotation, -(rotation @ pose[..., :3, 3:]).squeeze(-1))


def _rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    top = torch.cat((rotation, translation[..., None]), dim=-1)
    last_row = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat((top, last_row), dim=-2)


def _elevation_azimuth(point: Points) -> tuple[float, float]:
    x, y, z = point.tolist()
    return math.atan2(z, math.sqrt(x * x + y * y)), math.atan2(x, y)


def _rounded_icosahedron() -> _Mesh:
    points = [np.array(vertex, dtype=np.float32) * np.float32(1 / 200) for vertex in _ROUNDED_VERTICES]
    return _Mesh(points, list(_FACES), _face_edges())


def _exact_icosahedron() -> _Mesh:
    height = math.sqrt(1 / 5)
    points = [np.array([0.0, 0.0, -1.0])]
    for first_azimuth, z in ((-math.pi / 5, -height), (-2 * math.pi / 5, height)):
        azimuths = [first_azimuth - 2 * math.pi / 5 * step for step in range(5)]
        points += [np.array([2 * height * math.cos(a), 2 * height * math.sin(a), z]) for a in azimuths]
    return _Mesh([*points, np.array([0.0, 0.0, 1.0])], list(_FACES), _face_edges())


def _face_edges() -> list[Edge]:
    """Every edge of the icosahedron once, in the direction of the first face that has it."""
    edges: dict[frozenset[int], Edge] = {}
    for a, b, c in _FACES:
        for edge in ((a, b), (b, c), (c, a)):
            edges.setdefault(frozenset(edge), edge)
    return list(edges.values())


def _subdivided(mesh: _Mesh, level: int, project: Callable[[Points, int], Points]) -> list[Points]:
    """The vertices after `level` + 1 subdivisions, all vertices projected to the sphere after each."""
    for step in range(level + 1):
        mesh = _subdivide(mesh)
        mesh = mesh._replace(points=[project(point, step) for point in mesh.points])
    return mesh.points


def _subdivide(mesh: _Mesh) -> _Mesh:
    """Split every edge at its midpoint and every face into four.

    Half edges keep the direction of their edge. In a face (a, b, c) the new edges run from the midpoint of
    ca to those of bc and ab, and from that of bc to that of ab; the first vertex of a new face fixes its a,
    b, c.
    """
    points = list(mesh.points)
    middles: dict[frozenset[int], int] = {}
    edges: list[Edge] = []
    for start, end in mesh.edges:
        middle = len(points)
        middles[frozenset((start, end))] = middle
        # Written so, and not as (start + end)/2, the float32 rounding depends on the direction.
        points.append(points[start] + (points[end] - points[start]) / 2)
        edges += [(start, middle), (middle, end)]
    faces: list[Face] = []
    for a, b, c in mesh.faces:
        ab, bc, ca = (middles[frozenset(edge)] for edge in ((a, b), (b, c), (c, a)))
        edges += [(ca, bc), (ca, ab), (bc, ab)]
        faces += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ca, ab, bc)]
    return _Mesh(points, faces, edges)


def _project_exact(point: Points, step: int) -> Points:
    return point / np.linalg.norm(point)


def _project_rounded(point: Points, step: int) -> Points:
    """Float32 arithmetic in the first subdivision, float64 rounded to float32 in the later ones."""
    if step == 0:
        x, y, z = point
        return point * (np.float32(1) / np.sqrt(x * x + y * y + z * z))
    x, y, z = point.tolist()
    return (point.astype(np.float64) / math.sqrt(x * x + y * y + z * z)).astype(np.float32)
