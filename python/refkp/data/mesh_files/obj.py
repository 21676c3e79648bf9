"""Wavefront OBJ: polygons with materials, and the colours that many programs write behind vertices.

Textures go before colours of vertices, those before the plain colour of a material: programs that write both
mean one look twice, so they are not multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refkp.data.mesh_files.colours import as_bytes, in_unit_range
from refkp.data.mesh_files.mtl import Material, Pictures, find_beside, read_materials
from refkp.data.mesh_files.parts import MeshFile, Part

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class _Face(NamedTuple):
    line: int  # where it stands in the file
    corners: str  # "1/1 2/2 3/3"


@dataclass
class _Lines:
    """The lines of a file by what they are."""

    vertices: list[str] = field(default_factory=list)
    coordinates: list[str] = field(default_factory=list)  # of textures
    faces: dict[str | None, list[_Face]] = field(default_factory=dict)  # by material
    libraries: list[str] = field(default_factory=list)


class _Polygons(NamedTuple):
    """The triangles of a material: indices from 0, -1 where there is none."""

    vertex: Indices  # [F,3]
    coordinate: Indices  # [F,3]


def read_obj(path: Path) -> MeshFile:
    """The surface of an OBJ file, a part for each material.

    Raises:
        ValueError: a number that is none, or an index of nothing.
    """
    lines = _sorted_lines(path.read_bytes().decode("utf-8", "surrogateescape").replace("\\\n", " "))
    points, colours = _vertices(lines.vertices, path)
    uv = _table(lines.coordinates, 2, path)[:, :2] if lines.coordinates else np.zeros((0, 2))
    uv = np.nan_to_num(uv)  # v may be left out, and is 0 then
    losses: list[str] = []
    materials = _libraries(lines, path, losses)
    pictures = Pictures(path.parent)
    parts: list[Part] = []
    for name, faces in lines.faces.items():
        polygons = _polygons(faces, len(points), len(uv), path)
        if name is None and (colours is not None or not lines.libraries):
            material = texture = None  # nothing is said of a material
        else:
            material, texture = _look(name, materials, pictures, losses)
        parts += _parts(polygons, points, colours, uv, material, texture, losses)
    return MeshFile(tuple(parts), tuple(dict.fromkeys(losses)))


def _sorted_lines(text: str) -> _Lines:
    lines, material = _Lines(), None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split(maxsplit=1) if "#" in line else line.split(maxsplit=1)
        if len(words) < 2:
            continue
        key, rest = words
        if key == "v":
            lines.vertices.append(rest)
        elif key == "vt":
            lines.coordinates.append(rest)
        elif key == "f":
            if "-" in rest:
                rest = _absolute(rest, len(lines.vertices), len(lines.coordinates))
            lines.faces.setdefault(material, []).append(_Face(number, rest))
        elif key == "usemtl":
            material = line.split(maxsplit=1)[1].strip()  # its name may hold a "#"
        elif key == "mtllib":
            lines.libraries.append(line.split(maxsplit=1)[1].strip())
    return lines


def _absolute(corners: str, num_vertices: int, num_coordinates: int) -> str:
    """Indices that count back from the last one written so far, as indices from the first."""
    counts = (num_vertices, num_coordinates, 0)
    return " ".join(
        "/".join(
            str(counts[place] + 1 + int(word)) if word[:1] == "-" and word[1:].isdigit() else word
            for place, word in enumerate(corner.split("/"))
        )
        for corner in corners.split()
    )


def _vertices(lines: Sequence[str], path: Path) -> tuple[Array, NDArray[np.uint8] | None]:
    """Positions [V,3], and colours [V,3] if each vertex has one; they are written in 0..1 or in 0..255."""
    table = _table(lines, 3, path)
    width = table.shape[1]
    if width < 6 or np.isnan(table[:, 3:6]).any():
        return table[:, :3], None
    return table[:, :3], as_bytes(in_unit_range(table[:, 3:6], f"{path}: colours of vertices"))


def _table(lines: Sequence[str], least: int, path: Path) -> Array:
    """Rows of numbers, as wide as the widest; NaN where a row is shorter."""
    rows = [line.split() for line in lines]
    width = max(map(len, rows), default=0)
    if any(len(row) < width for row in rows):
        rows = [row + ["nan"] * (width - len(row)) for row in rows]
    try:
        table = np.array(rows, dtype=np.float64).reshape(len(rows), max(width, least))
    except ValueError as error:
        raise ValueError(f"{path}: {error}. Repair the file.") from error
    return table


def _polygons(faces: Sequence[_Face], num_vertices: int, num_coordinates: int, path: Path) -> _Polygons:
    """Triangles in the order of the file; polygons are cut into fans."""
    kinds: dict[tuple[int, int], list[_Face]] = {}
    for face in faces:
        kinds.setdefault((len(face.corners.split()), face.corners.count("/")), []).append(face)
    found = [_fans(alike, *kind, path) for kind, alike in kinds.items() if kind[0] > 2]
    if not found:
        return _Polygons(np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64))
    order = np.argsort(np.concatenate([lines for lines, _ in found]), kind="stable")
    triangles = np.concatenate([corners for _, corners in found])[order]  # [F,3,2]
    for what, index, count in zip(
        ("v", "vt"), np.moveaxis(triangles, 2, 0), (num_vertices, num_coordinates), strict=True
    ):
        if index.max() > count or index.min() < (what == "v"):
            got = f"{index.min()}..{index.max()}"
            raise ValueError(f"{path}: faces name `{what}` 1..{count}, not {got}. Repair the file.")
    return _Polygons(triangles[..., 0] - 1, triangles[..., 1] - 1)


def _fans(faces: Sequence[_Face], num_corners: int, slashes: int, path: Path) -> tuple[Indices, Indices]:
    """Line [F] and corners [F,3,2] of the triangles of polygons that are written alike; 0 is no index."""
    if slashes % num_corners or slashes > 2 * num_corners:
        raise ValueError(f"{path}: line {faces[0].line} mixes forms of corners. Repair the file.")
    fields = slashes // num_corners + 1
    text = " ".join(face.corners for face in faces).replace("//", "/0/").replace("/", " ")
    try:
        numbers = np.array(text.split(), dtype=np.int64).reshape(len(faces), num_corners, fields)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: a face from line {faces[0].line} on: {error}. Repair the file.") from error
    corners = np.zeros((len(faces), num_corners, 2), np.int64)
    corners[..., : min(fields, 2)] = numbers[..., :2]
    turns = np.array([(0, turn, turn + 1) for turn in range(1, num_corners - 1)])
    lines = np.repeat([face.line for face in faces], len(turns))
    return lines, corners[:, turns].reshape(-1, 3, 2)


def _libraries(lines: _Lines, path: Path, losses: list[str]) -> dict[str, Material]:
    """The materials of all libraries; a name may hold spaces, or several may stand in a line."""
    materials: dict[str, Material] = {}
    if not lines.libraries and (lines.coordinates or set(lines.faces) - {None}):
        losses.append("it names no material file (mtllib)")
    for line in lines.libraries:
        whole = find_beside(path.parent, line)
        for name in [line] if whole else line.split():
            library = find_beside(path.parent, name)
            if library is None:
                losses.append(f"there is no material file {name!r}")
            else:
                materials = read_materials(library) | materials
    return materials


def _look(
    name: str | None,
    materials: dict[str, Material],
    pictures: Pictures,
    losses: list[str],
) -> tuple[Material | None, NDArray[np.uint8] | None]:
    """The material of faces and its texture, and what is lost of them."""
    if name is None or name not in materials:
        if materials or not losses:  # else it is told that the file of the materials is not there
            losses.append("faces without a material" if name is None else f"there is no material {name!r}")
        return None, None
    material = materials[name]
    if material.map is None:
        return material, None
    texture = pictures.texture(material)
    if texture is None:
        losses.append(f"there is no picture {material.map.name!r} of material {name!r}")
        return None, None
    return material, texture


def _parts(
    polygons: _Polygons,
    points: Array,
    colours: NDArray[np.uint8] | None,
    uv: Array,
    material: Material | None,
    texture: NDArray[np.uint8] | None,
    losses: list[str],
) -> list[Part]:
    """Faces with a texture and the others: a material may have both."""
    has_uv = (polygons.coordinate >= 0).all(1) & (texture is not None)
    parts = []
    if texture is not None and material is not None and material.map is not None and has_uv.any():
        corners = np.stack((polygons.vertex[has_uv], polygons.coordinate[has_uv]), -1).reshape(-1, 2)
        pairs, faces = np.unique(corners, axis=0, return_inverse=True)
        place = material.map.place(uv[pairs[:, 1]])
        parts.append(Part(points[pairs[:, 0]], faces.reshape(-1, 3), place, texture))
    plain = polygons.vertex[~has_uv]
    if len(plain):
        used, faces = np.unique(plain, return_inverse=True)
        if colours is not None:
            own: NDArray[np.uint8] | None = colours[used]
        elif texture is not None or material is None or material.colour is None:
            if material is not None:
                lack = "a colour" if texture is None else "texture coordinates on all faces"
                losses.append(f"material {material.name!r} has not {lack}")
            own = None
        else:
            own = np.broadcast_to(as_bytes(material.colour), (len(used), 3))
        parts.append(Part(points[used], faces.reshape(-1, 3), colours=own))
    return parts
