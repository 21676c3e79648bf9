"""Triangle meshes in millimetres with their colours: reading, checking, writing."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from refkp._checks import fail, shape_text
from refkp._files import whole_file, write_text
from refkp.data.diameter import largest_distance
from refkp.data.images import encode_rgb
from refkp.data.mesh_files.gltf import read_gltf
from refkp.data.mesh_files.obj import read_obj
from refkp.data.mesh_files.others import read_other
from refkp.data.mesh_files.parts import MeshFile, join
from refkp.data.units import MILLIMETRES, Unit

#: The longest side of an object that passes for plausible, in millimetres.
PLAUSIBLE_EXTENT_MM = (5.0, 5000.0)

#: Ending -> who reads it; trimesh reads the others.
_READERS: dict[str, Callable[[Path], MeshFile]] = {".obj": read_obj, ".glb": read_gltf, ".gltf": read_gltf}
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".tga", ".exr", ".hdr")


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles in the object frame, millimetres.

    A face is coloured by its texture through `uv`, or by `vertex_colours`; a mesh with neither has no colour.

    Raises:
        ValueError: no faces, indices outside the vertices, a vertex that is not finite, or colours that do
            not fit the vertices.
    """

    vertices: NDArray[np.float64]  # [V,3]
    faces: NDArray[np.int64]  # [F,3], counter-clockwise from outside
    uv: NDArray[np.float64] | None = (
        None  # [V,2], u to the right and v up in the texture, in [0,1] or repeating
    )
    textures: tuple[NDArray[np.uint8], ...] = ()  # each [h,w,3]
    face_texture: NDArray[np.int64] | None = None  # [F], which texture, -1: none; None: the first everywhere
    vertex_colours: NDArray[np.uint8] | None = None  # [V,3], of faces without a texture

    def __post_init__(self) -> None:
        _check_surface(self.vertices, self.faces)
        _check_colours(self)

    @property
    def has_colour(self) -> bool:
        """False for a mesh that renders in one grey."""
        return bool(self.textures) or self.vertex_colours is not None

    @property
    def texture_of_face(self) -> NDArray[np.int64]:
        """[F], which texture colours each face; -1: none."""
        if self.face_texture is not None:
            return self.face_texture
        return np.full(len(self.faces), 0 if self.textures else -1, np.int64)

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
        return largest_distance(self.vertices[np.unique(self.faces)])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of its surface and colours: equal for equal meshes alone."""
        colours = (self.uv, *self.textures, self.face_texture, self.vertex_colours)
        parts = (self.vertices, self.faces, *colours)
        return sha256(b"|".join(b"" if part is None else part.tobytes() for part in parts)).hexdigest()

    def centred(self) -> Mesh:
        """The same mesh with the middle of its box at the origin."""
        return replace(self, vertices=self.vertices - self.centre)


def load_mesh(path: str | Path, *, unit: Unit, check_extent: bool = True) -> Mesh:
    """Read a mesh file (OBJ, glTF, PLY, STL and what else trimesh knows) and convert it to millimetres.

    Every material keeps its own texture or colour, as `refkp.data.mesh_files` says of each format. Colours that
    the file speaks of and that cannot be had (a material or picture that is not there) are a warning that
    names them; those parts are grey, and if nothing is left the mesh has no colour: see `Mesh.has_colour`.

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
    suffix = path.suffix.lower()
    if suffix in _PICTURES:
        remedy = "Name the mesh; its pictures are found through its material file."
        fail(
            "load_mesh",
            "path",
            "a mesh file such as .obj, .ply or .glb",
            f"the picture {str(path)!r}",
            remedy,
        )
    parts, losses = _READERS.get(suffix, read_other)(path)
    parts = tuple(part for part in parts if len(part.faces))
    if not parts:
        remedy = "A point cloud, or another kind of file, cannot be rendered."
        fail("load_mesh", "path", "a file with a surface of triangles", f"none in {str(path)!r}", remedy)
    try:
        mesh = Mesh(**join(parts)._asdict())
    except ValueError as error:  # what the surface must be, without its file
        raise ValueError(f"load_mesh: {path}: {error} Repair or export it again.") from error
    mesh = replace(mesh, vertices=mesh.vertices * MILLIMETRES[unit])
    if check_extent:
        _check_extent(mesh, unit, path)
    if losses:
        what = "some of its colours are lost" if mesh.has_colour else "its colours are lost, so it is grey"
        warnings.warn(f"load_mesh: {path}: {what}: {'; '.join(losses)}.", stacklevel=2)
    return mesh


def save_mesh(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh as OBJ in millimetres; textures go beside it as .mtl and .png files of the same stem.

    `load_mesh(path, unit="mm")` gives the mesh back, vertices to 1e-6 mm.

    Raises:
        ValueError: `path` does not end in .obj.
    """
    path = Path(path)
    if path.suffix != ".obj":
        fail("save_mesh", "path", "a name that ends in .obj", repr(path.name))
    materials = ""
    for number, texture in enumerate(mesh.textures):
        picture = path.with_name(f"{path.stem}{f'_{number}' if number else ''}.png")
        with whole_file(picture) as unfinished:
            unfinished.write_bytes(encode_rgb(torch.from_numpy(texture).permute(2, 0, 1), ".png"))
        materials += f"newmtl surface_{number}\nKd 1 1 1\nmap_Kd {picture.name}\n"
    if materials:
        write_text(path.with_suffix(".mtl"), materials)
    write_text(path, _obj_text(mesh, path.stem))


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
    if (mesh.uv is None) != (not mesh.textures):
        given = "a texture" if mesh.uv is None else "texture coordinates"
        fail("Mesh", "uv, textures", "given together", f"{given} alone")
    if mesh.uv is not None and (mesh.uv.shape != (count, 2) or not np.isfinite(mesh.uv).all()):
        fail("Mesh", "uv", f"finite [{count},2]", shape_text(mesh.uv.shape))
    for texture in mesh.textures:
        if texture.ndim != 3 or texture.shape[2] != 3 or not texture.size:
            fail("Mesh", "textures", "[h,w,3] each", shape_text(texture.shape))
    chosen = mesh.face_texture
    if chosen is not None and (
        chosen.shape != mesh.faces.shape[:1] or not -1 <= chosen.min() <= chosen.max() < len(mesh.textures)
    ):
        rule = f"[{len(mesh.faces)}] of -1..{len(mesh.textures) - 1}"
        fail("Mesh", "face_texture", rule, f"{shape_text(chosen.shape)} of {chosen.min()}..{chosen.max()}")
    if mesh.vertex_colours is not None and mesh.vertex_colours.shape != (count, 3):
        fail("Mesh", "vertex_colours", f"[{count},3]", shape_text(mesh.vertex_colours.shape))


def _check_extent(mesh: Mesh, unit: str, path: Path) -> None:
    longest = float(mesh.extent.max())
    least, most = PLAUSIBLE_EXTENT_MM
    if least <= longest <= most:
        return
    fitting = [
        name for name, size in MILLIMETRES.items() if least <= longest * size / MILLIMETRES[unit] <= most
    ]
    guess = (
        f"The file may be in {' or '.join(fitting)}: give that unit" if fitting else "Is it the right file"
    )
    guess += ", or" if fitting else "? Else"
    fail(
        *("load_mesh", "unit", f"one that makes the longest side of the object {least:g} to {most:g} mm"),
        f"{longest:g} mm with {unit!r} in {str(path)!r}",
        f"{guess} scale the object, or read it in Python by load_mesh with check_extent=False.",
    )


def _obj_text(mesh: Mesh, stem: str) -> str:
    colours = [""] * len(mesh.vertices)
    if mesh.vertex_colours is not None:
        colours = [" {:.6f} {:.6f} {:.6f}".format(*(colour / 255)) for colour in mesh.vertex_colours]
    lines = [f"mtllib {stem}.mtl"] if mesh.textures else []
    lines += [
        f"v {x:.7f} {y:.7f} {z:.7f}{colour}" for (x, y, z), colour in zip(mesh.vertices, colours, strict=True)
    ]
    form = "f {} {} {}"
    if mesh.uv is not None:
        lines += [f"vt {u:.8f} {v:.8f}" for u, v in mesh.uv]
        form = "f {0}/{0} {1}/{1} {2}/{2}"
    chosen = mesh.texture_of_face
    for number in np.unique(chosen):  # faces without a texture come first, since no line ends a material
        lines += [f"usemtl surface_{number}"] if number >= 0 else []
        lines += [form.format(*face) for face in mesh.faces[chosen == number] + 1]
    return "\n".join(lines) + "\n"
