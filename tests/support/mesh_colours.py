"""A box in OBJ, and what is seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from refkp.data.images import encode_rgb
from refkp.data.meshes import Mesh
from refkp.data.rendering import MeshRenderer
from tests.support.glb import BOX, CORNERS_UV, SIDES

#: Name of a side -> rotation of the camera that looks at it.
_VIEWS = {
    "x": ((0, 1, 0), (0, 0, -1), (-1, 0, 0)),
    "y": ((-1, 0, 0), (0, 0, -1), (0, -1, 0)),
    "z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}


def seen(mesh: Mesh, side: str) -> tuple[int, ...]:
    """The median colour of the side x, y or z of a mesh."""
    centred = mesh.centred()
    pose = np.eye(4)
    pose[:3, :3] = _VIEWS[side]
    pose[2, 3] = 4 * centred.extent.max()
    view = MeshRenderer([centred]).render(pose[None], [[120.0, 0, 32], [0, 120, 32], [0, 0, 1]], (64, 64))
    return tuple(int(value) for value in np.median(view.rgb[view.instance >= 0], axis=0))


def obj_text(
    materials: Sequence[str | None] = ("A",),
    *,
    library: str | None = "box.mtl",
    uv_scale: float = 1.0,
    colours: ArrayLike | None = None,
    with_uv: bool = True,
) -> str:
    """The box as OBJ; its sides take the materials in turn, None: no line says one."""
    lines = [] if library is None else [f"mtllib {library}"]
    for number, corner in enumerate(BOX):
        shade = "" if colours is None else " {:g} {:g} {:g}".format(*np.broadcast_to(colours, (8, 3))[number])
        lines.append("v {:g} {:g} {:g}".format(*corner) + shade)
    lines += [f"vt {u * uv_scale:g} {v * uv_scale:g}" for u, v in CORNERS_UV] if with_uv else []
    for number, side in enumerate(SIDES):
        material = materials[number % len(materials)]
        lines += [] if material is None else [f"usemtl {material}"]
        corners = (
            f"{vertex + 1}/{place}" if with_uv else f"{vertex + 1}" for place, vertex in enumerate(side, 1)
        )
        lines.append("f " + " ".join(corners))
    return "\n".join(lines) + "\n"


def write_picture(path: Path, colour: ArrayLike, size: int = 4) -> None:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = torch.from_numpy(np.broadcast_to(np.array(colour, np.uint8), (size, size, 3)).copy())
    path.write_bytes(encode_rgb(pixels.permute(2, 0, 1), ".png"))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A picture [h,w,3] as the bytes of a file."""
    return encode_rgb(torch.from_numpy(pixels).permute(2, 0, 1), ".png")
