"""What readers of mesh files give: parts with one kind of colour each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The colour of a surface without colours.
GREY = 160


class Part(NamedTuple):
    """A surface in the file's unit, coloured by a texture, by its vertices, or not at all."""

    vertices: Array  # [V,3]
    faces: NDArray[np.int64]  # [F,3]
    uv: Array | None = None  # [V,2], given together with `texture`
    texture: NDArray[np.uint8] | None = None  # [h,w,3]
    colours: NDArray[np.uint8] | None = None  # [V,3]


class MeshFile(NamedTuple):
    """What a file holds."""

    parts: tuple[Part, ...]
    losses: tuple[str, ...]  # colours that the file speaks of and that could not be had


class Joined(NamedTuple):
    """Parts as one surface; the fields of `refkp.data.meshes.Mesh`."""

    vertices: Array
    faces: NDArray[np.int64]
    uv: Array | None
    textures: tuple[NDArray[np.uint8], ...]
    face_texture: NDArray[np.int64] | None
    vertex_colours: NDArray[np.uint8] | None


def join(parts: Sequence[Part]) -> Joined:
    """All parts, each with its own vertices and its own colours: nothing is packed into one texture.

    Parts without colours among coloured ones are grey; if no part has any, there are none.
    """
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = np.concatenate([part.vertices for part in parts])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)])
    textures: list[NDArray[np.uint8]] = []
    chosen = [_index_of(part.texture, textures) for part in parts]
    uv = face_texture = colours = None
    if textures:
        uv = np.concatenate([np.zeros((len(p.vertices), 2)) if p.uv is None else p.uv for p in parts])
    if textures and (len(textures) > 1 or -1 in chosen):
        face_texture = np.repeat(chosen, [len(part.faces) for part in parts]).astype(np.int64)
    if any(part.colours is not None for part in parts) or (textures and -1 in chosen):
        colours = np.concatenate([_vertex_colours(part) for part in parts])
    return Joined(vertices, faces, uv, tuple(textures), face_texture, colours)


def _index_of(texture: NDArray[np.uint8] | None, textures: list[NDArray[np.uint8]]) -> int:
    """The place of a texture in a list, where it is put if it is new; -1 for none."""
    if texture is None:
        return -1
    for index, known in enumerate(textures):
        if known is texture:
            return index
    textures.append(texture)
    return len(textures) - 1


def _vertex_colours(part: Part) -> NDArray[np.uint8]:
    return np.full(part.vertices.shape, GREY, np.uint8) if part.colours is None else part.colours
