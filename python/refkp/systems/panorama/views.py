"""The pictures a layout takes of a panorama: the letterboxed global view and the perspective tiles.

Source: spec panorama 1.5 (cube faces), 2.2 and 2.5 (views), 2.6 (one typed result).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import fail, require_shape, shape_text
from refkp.geometry import sphere
from refkp.ops import e2p
from refkp.systems.panorama.layout import ErpLayout

#: Yaw and pitch in degrees of the cube faces, in the order of `render_cubemap`.
CUBE_FACES = {"F": (0, 0), "R": (90, 0), "B": (180, 0), "L": (-90, 0), "U": (0, 90), "D": (0, -90)}


@dataclass(frozen=True)
class ViewSet:
    """The views of B panoramas under one layout."""

    pixels: Tensor  # float32 [B,V,3,size,size] in [0,1], not normalised
    layout: ErpLayout
    world_from_rig: Tensor | None = None  # [B,3,3], the rotation of all tiles of a sample; None: identity


def render_views(
    erp: Tensor,
    layout: ErpLayout,
    size: int,
    *,
    world_from_rig: Tensor | None = None,
    antialias: Literal["none", "box"] = "none",
    backend: str | None = None,
) -> ViewSet:
    """Render every view of `layout` from B panoramas, all tiles in one call of `ops.e2p`.

    Args:
        erp: [B,3,H,2H], uint8, or floating in [0,1].
        layout: the views; a global view is the whole panorama, letterboxed on black.
        size: side of the square views in pixels.
        world_from_rig: [B,3,3] rotations that turn all tiles of a sample together: random ones augment, and
            leave the correspondences between tiles as they are. The global view keeps the frame of the
            panorama.
        antialias, backend: as in `ops.e2p`.

    Raises:
        ValueError: a panorama that is not 2:1, a size below one.
    """
    require_erp("render_views", erp)
    if size < 1:
        fail("render_views", "size", "at least 1", size)
    tiles = _render_tiles(erp, layout, size, world_from_rig, antialias, backend)
    if layout.has_global_view:
        tiles = torch.cat((letterbox(erp, size)[:, None], tiles), 1)
    return ViewSet(tiles, layout, world_from_rig)


def require_erp(function: str, erp: Tensor) -> None:
    """Raise ValueError unless `erp` is [B,3,H,2H]."""
    require_shape(function, "erp", erp, "B,3,H,W")
    if erp.shape[3] != 2 * erp.shape[2]:
        remedy = "Crop or pad the picture to a full 360 x 180 degree equirectangular panorama."
        fail(function, "erp", "twice as wide as high", shape_text(erp.shape), remedy)


def _render_tiles(
    erp: Tensor,
    layout: ErpLayout,
    size: int,
    world_from_rig: Tensor | None,
    antialias: str,
    backend: str | None,
) -> Tensor:
    batch, count = erp.shape[0], len(layout.tiles)
    rotation = layout.rotations.to(erp.device, torch.float32).expand(batch, count, 3, 3)
    if world_from_rig is not None:
        require_shape("render_views", "world_from_rig", world_from_rig, "B,3,3", B=batch)
        rotation = world_from_rig.to(rotation)[:, None] @ rotation
    tiles = e2p(
        erp,
        rotation.reshape(-1, 3, 3),
        hfov_deg=[tile.hfov_deg for tile in layout.tiles] * batch,
        vfov_deg=[tile.vfov_deg for tile in layout.tiles] * batch,
        size=(size, size),
        image_index=torch.arange(batch).repeat_interleave(count),
        antialias=antialias,
        backend=backend,
    )
    return unit_range(tiles, erp.dtype).reshape(batch, count, 3, size, size)


def unit_range(pixels: Tensor, source: torch.dtype) -> Tensor:
    """Pixels read from an image of dtype `source` as float32 in [0,1]."""
    return pixels.float() / 255 if source == torch.uint8 else pixels.float()


def letterbox(erp: Tensor, size: int) -> Tensor:
    """The whole panorama [B,3,H,2H] in the middle of a black square; float32 [B,3,size,size] in [0,1]."""
    height = max(1, size // 2)
    picture = functional.interpolate(
        unit_range(erp, erp.dtype), size=(height, size), mode="bicubic", align_corners=False, antialias=True
    )
    above = (size - height) // 2
    return functional.pad(picture.clamp(0, 1), (0, 0, above, size - height - above))


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
    yaw, pitch = torch.tensor(list(CUBE_FACES.values()), dtype=torch.float64).unbind(-1)
    dtype = erp.dtype if erp.is_floating_point() else torch.float32
    rotation = sphere.view_rotation(yaw, pitch).to(erp.device, dtype)
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
