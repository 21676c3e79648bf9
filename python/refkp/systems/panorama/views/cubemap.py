"""The six faces of a cube around the viewer: rendered from panoramas, and as a layout of tiles.

Source: spec panorama 1.5.
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor

from refkp.ops import e2p
from refkp.systems.panorama.views.layout import ErpLayout

#: Yaw and pitch in degrees of the cube faces, in the order of `render_cubemap`.
CUBE_FACES = {"F": (0, 0), "R": (90, 0), "B": (180, 0), "L": (-90, 0), "U": (0, 90), "D": (0, -90)}


@functools.cache
def cube_layout() -> ErpLayout:
    """The faces F R B L U D as tiles of a layout; `inverse.tiles_to_erp` takes their pictures back.

    >>> cube_layout().num_views
    6
    """
    yaw, pitch = zip(*CUBE_FACES.values(), strict=True)
    return ErpLayout.from_angles(yaw, pitch, hfov_deg=90.0)


def render_cubemap(
    erp: Tensor,
    face_size: int,
    *,
    convention: Literal["canonical", "py360convert"] = "canonical",
    backend: str | None = None,
) -> Tensor:
    """The six cube faces F R B L U D of panoramas: views of 90 degrees along +z, +x, -z, -x, +y, -y.

    F, R, B, L are upright and not mirrored; the front direction is at the bottom edge of U and the top edge
    of D.

    Args:
        erp: [B,C,H,W], any dtype of `ops.e2p`.
        face_size: side of a face in pixels.
        convention: pixel grid of `ops.e2p`; "py360convert" puts the outer pixel centres on the cube's edges.

    Returns:
        [B,6,C,face_size,face_size]; gradients reach a floating `erp`.
    """
    dtype = erp.dtype if erp.is_floating_point() else torch.float32
    dtype = dtype if dtype in (torch.float32, torch.float64) else torch.float32
    rotation = cube_layout().rotations.to(erp.device, dtype)
    batch, faces = erp.shape[0], len(CUBE_FACES)
    views = e2p(
        erp,
        rotation.repeat(batch, 1, 1),
        hfov_deg=90.0,
        vfov_deg=90.0,
        size=(face_size, face_size),
        image_index=torch.arange(batch).repeat_interleave(faces),
        convention=convention,
        backend=backend,
    )
    return views.reshape(batch, faces, *views.shape[1:])
