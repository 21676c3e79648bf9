"""Triangle meshes in millimetres with their colours: reading, checking, writing."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from refkp._checks import fail, shape_text
from refkp._extras import named_extras
from refkp._files import whole_file, write_text
from refkp.data.images import encode_rgb, rgb_of
from refkp.data.units import MILLIMETRES, Unit

if TYPE_CHECKING:
    from PIL import Image

with named_extras():
    import trimesh

#: The longest side of an object that passes for plausible, in millimetres.
PLAUSIBLE_EXTENT_MM = (5.0, 5000.0)

_PAIRS_AT_ONCE = 4_000_000  # distances held in memory


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles in the object frame, millimetres.

    Colours come from `texture` through `uv`, or from `vertex_colours`; a mesh with neither has none.

    Raises:
        ValueError: no faces, indices outside the vertices, a vertex that is not finite, or colours that do
            not fit the vertices.
    """

    vertices: NDArray[np.float64]  # [V,3]
    faces: NDArray[np.int64]  # [F,3], counter-clockwise from outside
    uv: NDArray[np.float64] | None = (
        None  # [V,2], u to the right and v up in the texture, in [0,1] or repeating
    )
    texture: NDArray[np.uint8] | None = None  # [h,w,3]
    vertex_colours: NDArray[np.uint8] | None = None  # [V,3]

    def __post_init__(self) -> None:
        _check_surface(self.vertices, self.faces)
        _check_colours(self)

    @property
    def has_colour(self) -> bool:
        """False for a mesh that renders in one grey."""
        return self.texture is not None or self.vertex_colours is not None

    @functools.cached_property
    def bounds(self) -> NDArray[np.float64]:
        """[2,3], the smallest and the largest coordinates of the vertices that faces use."""
        used = self.vertices[np.unique(self.faces)]
        return np.stack((used.min(0), used.max(0)))

    @property
    def extent(self) -> NDArray[np.float64]:
        """[3], sides of the axis-aligned box, millimetres."""
        return self.bounds[1] - self.bounds[0]

    @property
    def centre(self) -> NDArray[np.float64]:
        """[3], middle of the axis-aligned box."""
        return self.bounds.mean(0)

    @functools.cached_property
    def diameter(self) -> float:
        """The largest distance between two vertices, millimetres."""
        return _largest_distance(self.vertices[np.unique(self.faces)])

    def centred(self) -> Mesh:
        """The same mesh with the middle of its box at the origin."""
        return replace(self, vertices=self.vertices - self.centre)


def load_mesh(path: str | Path, *, unit: Unit, check_extent: bool = True) -> Mesh:
    """Read a mesh file (OBJ, PLY, GLB, STL and what else trimesh knows) and convert it to millimetres.

    A material that names no picture, or one that is not there, gives no colour: see `Mesh.has_colour`.

    Args:
        path: the file; pictures of materials are looked up beside it.
        unit: the length of 1 in the file. Files do not say it, so it must be given.
        check_extent: refuse an object whose longest side is not within 5 mm and 5 m.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, holds no usable surface, or its size is implausible in `unit`.
    """
    if unit not in MILLIMETRES:
        fail("load_mesh", "unit", "one of " + ", ".join(map(repr, MILLIMETRES)), repr(unit))
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_mesh: there is no mesh file {str(path)!r}.")
    try:
        loaded = trimesh.load_mesh(path, process=False)
    except Exception as error:  # a parser of any format may raise anything
        raise ValueError(f"load_mesh: cannot read {str(path)!r}: {error}. Repair the file.") from error
    if not isinstance(loaded, trimesh.Trimesh):
        fail("load_mesh", "path", "a triangle mesh", f"{type(loaded).__name__} in {str(path)!r}")
    mesh = _from_trimesh(loaded, MILLIMETRES[unit])
    if check_extent:
        _check_extent(mesh, unit)
    return mesh


def save_mesh(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh as OBJ in millimetres; a texture goes beside it as .mtl and .png of the same stem.

    `load_mesh(path, unit="mm")` gives the mesh back, vertices to 1e-6 mm.

    Raises:
        ValueError: `path` does not end in .obj.
    """
    path = Path(path)
    if path.suffix != ".obj":
        fail("save_mesh", "path", "a name that ends in .obj", repr(path.name))
    if mesh.texture is not None:
        texture = torch.from_numpy(mesh.texture).permute(2, 0, 1)
        with whole_file(path.with_suffix(".png")) as unfinished:
            unfinished.write_bytes(encode_rgb(texture, ".png"))
        write_text(path.with_suffix(".mtl"), f"newmtl surface\nKd 1 1 1\nmap_Kd {path.stem}.png\n")
    write_text(path, _obj_text(mesh, path.stem))


def _from_trimesh(loaded: Any, millimetres: float) -> Mesh:
    vertices = np.array(loaded.vertices, dtype=np.float64) * millimetres
    faces = np.array(loaded.faces, dtype=np.int64)
    visual = loaded.visual
    if visual.kind == "vertex":
        return Mesh(vertices, faces, vertex_colours=np.array(visual.vertex_colors[:, :3], dtype=np.uint8))
    if visual.kind == "face":  # every face gets its own vertices, which carry its colour
        colours = np.array(visual.face_colors[:, :3], dtype=np.uint8).repeat(3, axis=0)
        corners = np.arange(3 * len(faces), dtype=np.int64).reshape(-1, 3)
        return Mesh(vertices[faces].reshape(-1, 3), corners, vertex_colours=colours)
    picture = _material_picture(visual) if visual.kind == "texture" else None
    if picture is None or visual.uv is None:
        return Mesh(vertices, faces)
    texture = rgb_of(picture, "texture").permute(1, 2, 0).numpy()
    return Mesh(vertices, faces, np.array(visual.uv, dtype=np.float64)[:, :2], texture)


def _material_picture(visual: Any) -> Image.Image | None:
    """The picture of simple materials is called `image`, that of physically based ones `baseColorTexture`."""
    material = visual.material
    picture: Image.Image | None = getattr(material, "image", None)
    return picture if picture is not None else getattr(material, "baseColorTexture", None)


def _check_surface(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        fail("Mesh", "vertices", "[V,3]", shape_text(vertices.shape))
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        fail(
            "Mesh", "faces", "[F,3] with F > 0", shape_text(faces.shape), "A point cloud cannot be rendered."
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        got = f"{faces.min()}..{faces.max()}"
        fail("Mesh", "faces", f"indices of the {len(vertices)} vertices", got)
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices)).any(1).sum())
        fail("Mesh", "vertices", "finite", f"{bad} of {len(vertices)} vertices NaN or infinite")


def _check_colours(mesh: Mesh) -> None:
    count = len(mesh.vertices)
    if (mesh.uv is None) != (mesh.texture is None):
        given = "a texture" if mesh.uv is None else "texture coordinates"
        fail("Mesh", "uv, texture", "given together", f"{given} alone")
    if mesh.uv is not None and (mesh.uv.shape != (count, 2) or not np.isfinite(mesh.uv).all()):
        fail("Mesh", "uv", f"finite [{count},2]", shape_text(mesh.uv.shape))
    if mesh.texture is not None and (mesh.texture.ndim != 3 or mesh.texture.shape[2] != 3):
        fail("Mesh", "texture", "[h,w,3]", shape_text(mesh.texture.shape))
    if mesh.vertex_colours is not None and mesh.vertex_colours.shape != (count, 3):
        fail("Mesh", "vertex_colours", f"[{count},3]", shape_text(mesh.vertex_colours.shape))


def _check_extent(mesh: Mesh, unit: str) -> None:
    longest = float(mesh.extent.max())
    least, most = PLAUSIBLE_EXTENT_MM
    if least <= longest <= most:
        return
    fitting = [
        name for name, size in MILLIMETRES.items() if least <= longest * size / MILLIMETRES[unit] <= most
    ]
    guess = f"The file may be in {' or '.join(fitting)}; or else" if fitting else "If it really is so,"
    fail(
        *("load_mesh", "unit", f"one that makes the longest side of the object {least:g} to {most:g} mm"),
        f"{longest:g} mm with {unit!r}",
        f"{guess} pass check_extent=False.",
    )


def _largest_distance(points: NDArray[np.float64]) -> float:
    """All pairs, of the points alone that can end the longest one.

    With a distance L that two points are known to have, and r the largest distance from the middle c, a point p
    with |p - c| + r < L is out: none is as far as L from it.
    """
    from_middle = np.linalg.norm(points - points.mean(0), axis=1)
    start = points[from_middle.argmax()]
    end = points[np.linalg.norm(points - start, axis=1).argmax()]
    known = np.linalg.norm(points - end, axis=1).max()
    points = points[from_middle + from_middle.max() >= known * (1 - 1e-12)] - points.mean(0)
    squares = np.einsum("ai,ai->a", points, points)
    rows, largest = max(1, _PAIRS_AT_ONCE // len(points)), 0.0
    for first in range(0, len(points), rows):
        part = slice(first, first + rows)
        between = squares[part, None] + squares[first:] - 2 * points[part] @ points[first:].T
        largest = max(largest, float(between.max()))
    return largest**0.5


def _obj_text(mesh: Mesh, stem: str) -> str:
    colours = [""] * len(mesh.vertices)
    if mesh.vertex_colours is not None:
        colours = [" {:.6f} {:.6f} {:.6f}".format(*(colour / 255)) for colour in mesh.vertex_colours]
    lines = [f"mtllib {stem}.mtl", "usemtl surface"] if mesh.texture is not None else []
    lines += [
        f"v {x:.7f} {y:.7f} {z:.7f}{colour}" for (x, y, z), colour in zip(mesh.vertices, colours, strict=True)
    ]
    if mesh.uv is not None:
        lines += [f"vt {u:.8f} {v:.8f}" for u, v in mesh.uv]
        lines += ["f {0}/{0} {1}/{1} {2}/{2}".format(*face) for face in mesh.faces + 1]
    else:
        lines += ["f {} {} {}".format(*face) for face in mesh.faces + 1]
    return "\n".join(lines) + "\n"
