"""Mesh files that trimesh reads: PLY, STL, OFF and more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refkp._extras import named_extras
from refkp.data.images import read_rgb, rgb_of
from refkp.data.mesh_files.mtl import find_beside
from refkp.data.mesh_files.parts import MeshFile, Part

with named_extras():
    import trimesh

Array = NDArray[np.float64]

_HEADER = 1 << 16  # bytes of a PLY file that hold its header


def read_other(path: Path) -> MeshFile:
    """The surfaces of a file, each with its own colours: of a texture, of faces, or of vertices.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        scene = trimesh.load_scene(path, process=False)
    except Exception as error:  # a parser of any format may raise anything
        reason = " ".join(str(error).split())
        raise ValueError(f"load_mesh: cannot read {str(path)!r}: {reason}. Repair the file.") from error
    parts: list[Part] = []
    losses: list[str] = []
    for node in scene.graph.nodes_geometry:
        placement, name = scene.graph[node]
        loaded = scene.geometry[name]
        if isinstance(loaded, trimesh.Trimesh):
            parts.append(_part(loaded, np.asarray(placement, dtype=np.float64), path, losses))
    return MeshFile(tuple(parts), tuple(losses))


def _part(loaded: Any, placement: Array, path: Path, losses: list[str]) -> Part:
    vertices = np.array(loaded.vertices, dtype=np.float64) @ placement[:3, :3].T + placement[:3, 3]
    faces = np.array(loaded.faces, dtype=np.int64)
    plain, visual = Part(vertices, faces), loaded.visual
    if visual.kind == "vertex":
        return plain._replace(colours=np.array(visual.vertex_colors[:, :3], dtype=np.uint8))
    if visual.kind == "face":
        return _with_face_colours(plain, np.array(visual.face_colors[:, :3], dtype=np.uint8), losses)
    if visual.kind != "texture":
        return plain
    texture = _texture(visual, path, losses)
    if texture is None or visual.uv is None:
        return plain
    return plain._replace(uv=np.array(visual.uv, dtype=np.float64)[:, :2], texture=texture)


def _with_face_colours(part: Part, colours: NDArray[np.uint8], losses: list[str]) -> Part:
    """Every face gets its own vertices, which carry its colour."""
    if len(colours) != len(part.faces):
        losses.append("colours of polygons, since they are cut into triangles; save triangles")
        return part
    corners = np.arange(part.faces.size, dtype=np.int64).reshape(-1, 3)
    return Part(part.vertices[part.faces].reshape(-1, 3), corners, colours=colours.repeat(3, axis=0))


def _texture(visual: Any, path: Path, losses: list[str]) -> NDArray[np.uint8] | None:
    """The picture of a surface; trimesh puts a grey one where a PLY file names one that is not there."""
    if path.suffix.lower() != ".ply":
        picture = getattr(visual.material, "image", None)
        if picture is not None:
            return rgb_of(picture, str(path)).permute(1, 2, 0).numpy()
        losses.append("there are texture coordinates, but no picture")
        return None
    header = path.read_bytes()[:_HEADER].partition(b"end_header")[0].decode("utf-8", "surrogateescape")
    name = re.search(r"^comment\s+TextureFile\s+(.+?)\s*$", header, re.MULTILINE | re.IGNORECASE)
    found = find_beside(path.parent, name[1]) if name else None
    if found is not None:
        return read_rgb(found).permute(1, 2, 0).numpy()
    losses.append(f"there is no picture {name[1]!r}" if name else "texture coordinates, but no TextureFile")
    return None
