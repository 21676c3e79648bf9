"""Made-up objects of the size of a hand, with textures in which no two places look alike.

An object is a set of patches, each a grid of points on its surface. Every patch owns a tile of the texture; the
colour of a texel is that of a solid pattern at its point in space, so the pattern runs on across tiles.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from refkp._checks import require_choice
from refkp.data.meshes import Mesh
from refkp.data.noise import value_noise
from refkp.data.solid_texture import solid_texture

Array = NDArray[np.float64]

#: A grid of points [a,b,3]; the first axis, then the second, turn counter-clockwise seen from outside.
Patch = Array

TILE = 128  # texels along the sides of the tile of a patch


def make_object(kind: str, seed: int) -> Mesh:
    """A closed textured object whose longest side has 80 to 200 mm, its box centred at the origin.

    Args:
        kind: "box" (rounded), "blob" (a bumpy ball), "mug" (hollow, with a handle), "l_block" or "t_block".
        seed: picks size, shape and texture.

    Returns:
        The mesh; all of its faces look outwards.

    Raises:
        ValueError: an unknown kind.

    >>> mesh = make_object("mug", seed=0)
    >>> mesh.has_colour, bool(80 <= mesh.extent.max() <= 200)
    (True, True)
    """
    require_choice("make_object", "kind", kind, tuple(KINDS))
    generator = np.random.default_rng((seed, *kind.encode()))
    patches = KINDS[kind](generator)
    points = np.concatenate([patch.reshape(-1, 3) for patch in patches])
    low, high = points.min(0), points.max(0)
    scale = generator.uniform(85, 195) / (high - low).max()
    patches = [(patch - (low + high) / 2) * scale for patch in patches]
    return _mesh(patches, solid_texture(generator))


def _box(generator: np.random.Generator) -> list[Patch]:
    """A box with rounded edges: its core, and a ball of the radius swept over it."""
    half = generator.uniform(0.45, 1.0, 3)
    half[generator.integers(3)] = 1.0
    radius = generator.uniform(0.15, 0.35) * half.min()

    def rounded(cube: Array) -> Array:
        core = np.clip(cube * half, radius - half, half - radius)
        outward = cube * half - core
        return core + radius * outward / np.linalg.norm(outward, axis=-1, keepdims=True)

    return [rounded(side) for side in _cube(_dense_ends(24))]


def _blob(generator: np.random.Generator) -> list[Patch]:
    """A ball, stretched, with bumps of smooth noise."""
    stretch, place = generator.uniform(0.65, 1.0, 3), generator.uniform(-50, 50, 3)
    depth = generator.uniform(0.5, 0.8)

    def bumpy(cube: Array) -> Array:
        direction = cube / np.linalg.norm(cube, axis=-1, keepdims=True)
        field = value_noise((direction * 1.3 + place).reshape(-1, 3).astype(np.float32))
        return direction * stretch * (1 + depth * (field.reshape(*cube.shape[:2], 1) - 0.5))

    return [bumpy(side) for side in _cube(np.tan(np.linspace(-np.pi / 4, np.pi / 4, 25)))]


def _mug(generator: np.random.Generator) -> list[Patch]:
    """A wall turned about z, and a bent tube whose ends are hidden in the wall."""
    height, radius = generator.uniform(1.8, 2.6), 1.0
    wall, top = generator.uniform(0.1, 0.16), generator.uniform(0.92, 1.08)
    profile = np.array(  # radius and z, from the bottom's middle outside around to the one inside
        [(0, 0), (radius, 0), (top, height), (top - wall, height), (radius - wall, 2 * wall), (0, 2 * wall)]
    )
    quarters = [np.linspace(0, np.pi / 2, 17) + quarter * np.pi / 2 for quarter in range(4)]
    patches = [
        _turned(np.linspace(start, end, 13), angles)
        for start, end in itertools.pairwise(profile)
        for angles in quarters
    ]
    bend, thickness = generator.uniform(0.26, 0.34) * height, generator.uniform(0.1, 0.16)
    turn = generator.uniform(0, 2 * np.pi)
    reach = (radius + top) / 2 - wall / 2
    return patches + [_turn_z(patch, turn) for patch in _handle(reach, height / 2, bend, thickness)]


def _handle(reach: float, middle: float, bend: float, thickness: float) -> list[Patch]:
    """Half a ring in the x-z plane about (reach, middle), of a round rod, in four quarters around the rod."""
    along = np.linspace(-np.pi / 2, np.pi / 2, 25)[:, None]
    patches = []
    for quarter in range(4):
        around = np.linspace(0, np.pi / 2, 9)[None] + quarter * np.pi / 2
        out = bend + thickness * np.cos(around)
        side = np.broadcast_to(-thickness * np.sin(around), (25, 9))
        patches.append(np.stack((reach + out * np.cos(along), side, middle + out * np.sin(along)), -1))
    return patches


def _l_block(generator: np.random.Generator) -> list[Patch]:
    """Three of four cells, one longer than the other."""
    cells = np.array([[1, 1], [1, 0]], bool)[..., None]
    arm, foot = generator.uniform(0.7, 1.6), generator.uniform(0.5, 1.1)
    lines = [
        np.array([0, 0.8, 0.8 + foot]),
        np.array([0, 0.7, 0.7 + arm]),
        np.array([0, generator.uniform(0.6, 1.3)]),
    ]
    return _cells(cells, lines)


def _t_block(generator: np.random.Generator) -> list[Patch]:
    """A beam on a post that does not stand in its middle."""
    cells = np.array([[0, 1], [1, 1], [0, 1]], bool)[..., None]
    left, right, post = generator.uniform(0.4, 1.0, 3)
    lines = [
        np.array([0, left, left + 0.7, left + 0.7 + right + 0.2]),
        np.array([0, 0.5 + post, 1.1 + post]),
        np.array([0, generator.uniform(0.6, 1.2)]),
    ]
    return _cells(cells, lines)


#: Kind -> its patches from a generator of random numbers.
KINDS: dict[str, Callable[[np.random.Generator], list[Patch]]] = {
    "box": _box,
    "blob": _blob,
    "mug": _mug,
    "l_block": _l_block,
    "t_block": _t_block,
}


def _cube(ticks: Array) -> list[Patch]:
    """The six sides of the cube [-1,1]^3, ruled at `ticks`."""
    a, b = np.meshgrid(ticks, ticks, indexing="ij")
    sides = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            side = np.empty((*a.shape, 3))
            side[..., axis] = sign
            first, second = ((axis + 1) % 3, (axis + 2) % 3)[:: int(sign)]
            side[..., first], side[..., second] = a, b
            sides.append(side)
    return sides


def _dense_ends(count: int) -> Array:
    """Ticks over [-1,1] that crowd at both ends, where edges are rounded."""
    ticks: Array = np.sin(np.linspace(-np.pi / 2, np.pi / 2, count + 1))
    return ticks


def _turned(profile: Array, angles: Array) -> Patch:
    """The points (radius, z) of a profile, turned about the z axis."""
    radius, z = profile.T[:, :, None]
    # From the profile to the angle is clockwise seen from outside, so the angle comes first.
    points = np.stack(
        (radius * np.cos(angles), radius * np.sin(angles), np.broadcast_to(z, (len(z), len(angles)))), -1
    )
    return points.swapaxes(0, 1)


def _turn_z(patch: Patch, angle: float) -> Patch:
    cos, sin = np.cos(angle), np.sin(angle)
    return patch @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def _cells(cells: NDArray[np.bool_], lines: Sequence[Array]) -> list[Patch]:
    """The sides between full and empty cells of a grid with the given lines along x, y and z."""
    padded = np.pad(cells, 1)
    patches = []
    for cell in np.argwhere(cells):
        low = np.array([lines[axis][cell[axis]] for axis in range(3)])
        high = np.array([lines[axis][cell[axis] + 1] for axis in range(3)])
        for number, side in enumerate(_cube(np.linspace(-1, 1, 5))):
            neighbour = cell + 1
            neighbour[number // 2] += (1, -1)[number % 2]
            if not padded[tuple(neighbour)]:
                patches.append((low + high) / 2 + side * (high - low) / 2)
    return patches


def _mesh(patches: Sequence[Patch], colour: Callable[[Array], NDArray[np.uint8]]) -> Mesh:
    """Patches as triangles, with a texture of one tile each."""
    columns = int(np.ceil(np.sqrt(len(patches))))
    rows = -(-len(patches) // columns)
    texture = np.zeros((rows * TILE, columns * TILE, 3), np.uint8)
    vertices, faces, uv, count = [], [], [], 0
    for number, patch in enumerate(patches):
        row, column = divmod(number, columns)
        texture[row * TILE :, column * TILE :][:TILE, :TILE] = colour(_refined(patch, TILE))
        height, width = patch.shape[:2]
        # From the centre of the first texel to that of the last: no lookup leaves the tile.
        y, x = np.meshgrid(*(np.linspace(0.5, TILE - 0.5, steps) for steps in (height, width)), indexing="ij")
        uv.append(
            np.stack(((column * TILE + x) / texture.shape[1], 1 - (row * TILE + y) / texture.shape[0]), -1)
        )
        faces.append(_grid_faces(height, width) + count)
        vertices.append(patch)
        count += height * width
    points = np.concatenate([patch.reshape(-1, 3) for patch in vertices])
    triangles = np.concatenate(faces)
    corners = points[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return Mesh(
        points, triangles[area > 1e-9], np.concatenate([part.reshape(-1, 2) for part in uv]), (texture,)
    )


def _grid_faces(height: int, width: int) -> NDArray[np.int64]:
    """Two triangles per cell of a grid of points, first axis before second."""
    corner = (np.arange(height - 1)[:, None] * width + np.arange(width - 1)).reshape(-1)
    down, right, both = corner + width, corner + 1, corner + width + 1
    return np.concatenate((np.stack((corner, down, both), -1), np.stack((corner, both, right), -1)))


def _refined(patch: Patch, size: int) -> Array:
    """The points [size,size,3] of a patch, linear between those of its grid."""
    for axis in range(2):
        place = np.linspace(0, patch.shape[axis] - 1, size)
        below = np.minimum(place.astype(int), patch.shape[axis] - 2)
        share = (place - below).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        patch = patch.take(below, axis) * (1 - share) + patch.take(below + 1, axis) * share
    return patch
