"""The pictures a layout takes of a panorama: the whole of it, rectangles of its pixels, perspective tiles.

Source: spec panorama 2.2 and 2.5 (views), 2.6 (one path for every crop strategy, one typed result).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import fail, require_shape, shape_text
from refkp.nn.pixels import PixelStatistics, normalise, unit_range
from refkp.ops import e2p
from refkp.systems.panorama.views.layout import ErpLayout, ViewRecord
from refkp.systems.panorama.views.records import FULL
from refkp.systems.panorama.views.resize import resize, round_to_bytes

__all__ = ["PixelStatistics", "ViewSet", "letterbox", "normalise", "render_views", "require_erp"]

Antialias = Literal["none", "box", "mip"]
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class ViewSet:
    """The views of B panoramas under one layout."""

    pixels: Tensor  # float32 [B,V,3,h,w], in [0,1] unless normalised
    layout: ErpLayout
    world_from_rig: Tensor | None = None  # [B,3,3], the rotation of all tiles of a sample; None: identity
    statistics: PixelStatistics | None = None  # what the pixels were normalised by; None: they are in [0,1]

    def normalised(self, statistics: PixelStatistics) -> ViewSet:
        """The same views, normalised; ValueError if they already are."""
        if self.statistics is not None:
            fail("ViewSet.normalised", "pixels", "in [0,1]", f"pixels normalised by {self.statistics}")
        return replace(self, pixels=normalise(self.pixels, statistics), statistics=statistics)


@dataclass(frozen=True)
class OriginalTiles:
    """How the image processor of the original renders, for comparison with it.

    Tiles are rendered on py360convert's grid at `render_size` (height, width), as high as they are wide, and
    trimmed by whole rows to their vertical field; tiles and crops are resized with a Lanczos filter and
    rounded to bytes after every step. No gradient survives that.
    """

    render_size: Size


def render_views(
    erp: Tensor,
    layout: ErpLayout,
    size: int | Size,
    *,
    world_from_rig: Tensor | None = None,
    antialias: Antialias = "none",
    any_aspect: bool = False,
    original: OriginalTiles | None = None,
    backend: str | None = None,
) -> ViewSet:
    """Render every view of `layout` from B panoramas, all tiles in one call of `ops.e2p`.

    A global view is the whole panorama, letterboxed on black with a bicubic filter or squeezed with a Lanczos
    filter; a crop is a rectangle of panorama pixels, resized with a Lanczos filter; the filters are Pillow's.

    Args:
        erp: [B,3,H,2H], uint8, or floating in [0,1].
        layout: the views.
        size: (height, width) of the views in pixels, or their side.
        world_from_rig: [B,3,3] rotations that turn all tiles of a sample together: random ones augment, and
            leave the correspondences between tiles as they are. Crops follow a turn about the vertical, to
            the nearest pixel, and refuse any other. The global view keeps the frame of the panorama.
        antialias, backend: of the tiles, as in `ops.e2p`.
        any_aspect: take a picture that is not 2:1 as a stretched panorama of 360 x 180 degrees.
        original: render like the original's image processor; needs `antialias` "none".

    Returns:
        Views in [0,1]; gradients reach a floating `erp`. The letterbox of bytes on the CPU is rounded to
        bytes.

    Raises:
        ValueError: a panorama that is not 2:1, a size below one, a rotation that crops cannot follow.
    """
    require_erp("render_views", erp, any_aspect=any_aspect)
    target = (size, size) if isinstance(size, int) else size
    if min(target) < 1:
        fail("render_views", "size", "at least 1", size)
    if world_from_rig is not None:
        require_shape("render_views", "world_from_rig", world_from_rig, "B,3,3", B=erp.shape[0])
    shrink = functools.partial(resize, to_bytes=original is not None)
    parts = []
    if layout.has_global_view:
        parts.append(_render_global(erp, layout.views[0], target, shrink)[:, None])
    if layout.crops:
        turned = erp if world_from_rig is None else _turned(erp, world_from_rig)
        parts.append(_render_crops(turned, layout.crops, target, shrink))
    if layout.tiles and original is None:
        fov = [(tile.hfov_deg, tile.vfov_deg) for tile in layout.tiles]
        render = functools.partial(e2p, antialias=antialias, backend=backend)
        parts.append(_render_tiles(erp, layout, fov, target, world_from_rig, render))
    elif layout.tiles and original is not None:
        if antialias != "none":
            fail("render_views", "antialias", "'none' with `original`", repr(antialias))
        render = functools.partial(e2p, convention="py360convert", backend=backend)
        parts.append(_render_original(erp, layout, original.render_size, target, world_from_rig, render))
    return ViewSet(torch.cat(parts, 1), layout, world_from_rig)


def require_erp(function: str, erp: Tensor, *, any_aspect: bool = False) -> None:
    """Raise ValueError unless `erp` is [B,3,H,2H], or [B,3,H,W] for any aspect."""
    require_shape(function, "erp", erp, "B,3,H,W")
    if erp.shape[3] != 2 * erp.shape[2] and not any_aspect:
        remedy = "Crop or pad the picture to a full 360 x 180 degree equirectangular panorama."
        fail(function, "erp", "twice as wide as high", shape_text(erp.shape), remedy)


# ---- global view ----------------------------------------------------------------------------------


def letterbox(erp: Tensor, size: int, *, base_size: int | None = None) -> Tensor:
    """The whole picture in the middle of a black square.

    Args:
        erp: [B,C,H,W] of any aspect, uint8, or floating in [0,1].
        size: side of the square in pixels; the longer side of the picture fills it.
        base_size: the two steps of the original: letterbox to this side first, then bilinear sampling at
            `size` without a filter. None takes one filtered step.

    Returns:
        Floating [B,C,size,size] in [0,1].
    """
    require_shape("letterbox", "erp", erp, "B,C,H,W")
    for name, side in (("size", size), ("base_size", base_size)):
        if side is not None and side < 1:
            fail("letterbox", name, "at least 1", side)
    side = size if base_size is None else base_size
    height, width = erp.shape[2:]
    if min(height, width) < 1:
        fail("letterbox", "erp", "of at least one pixel", shape_text(erp.shape))
    scale = side / max(height, width)
    square = _place(erp, (side, side), (max(1, round(height * scale)), max(1, round(width * scale))))
    if side == size:
        return square
    return functional.interpolate(square, size=(size, size), mode="bilinear", align_corners=False)


def _render_global(erp: Tensor, view: ViewRecord, size: Size, shrink: Callable[..., Tensor]) -> Tensor:
    if view.letterbox == FULL:
        return shrink(unit_range(erp), size)
    left, top, right, bottom = view.letterbox
    picture = max(1, round(size[0] * (bottom - top))), max(1, round(size[1] * (right - left)))
    return _place(erp, size, picture)


def _place(erp: Tensor, size: Size, picture_size: Size) -> Tensor:
    """The whole picture, brought to `picture_size`, in the middle of a black view."""
    picture = _bicubic(erp, picture_size)
    above, before = ((outer - inner) // 2 for outer, inner in zip(size, picture_size, strict=True))
    below, after = size[0] - picture_size[0] - above, size[1] - picture_size[1] - before
    return functional.pad(picture, (before, after, above, below))


def _bicubic(erp: Tensor, size: Size) -> Tensor:
    """Pillow's bicubic resize to pictures in [0,1]."""
    if erp.dtype == torch.uint8 and erp.device.type == "cpu":  # integer arithmetic, fifty times as fast
        interleaved = erp.contiguous(
            memory_format=torch.channels_last
        )  # what torch's byte kernel is written for
        return unit_range(functional.interpolate(interleaved, size=size, mode="bicubic", antialias=True))
    return resize(unit_range(erp), size, "bicubic")


# ---- crops ----------------------------------------------------------------------------------------


def _render_crops(
    erp: Tensor, crops: Sequence[ViewRecord], size: Size, shrink: Callable[..., Tensor]
) -> Tensor:
    """[B,n,3,h,w]; crops of one pixel size are resized together."""
    height, width = erp.shape[2:]
    groups: dict[Size, list[int]] = {}
    boxes = [crop.pixel_box(height, width) for crop in crops]
    for index, (_, _, columns, rows) in enumerate(boxes):
        groups.setdefault((rows, columns), []).append(index)
    views: list[Tensor] = [erp] * len(crops)
    for members in groups.values():
        pixels = torch.stack([_cut(erp, boxes[index]) for index in members], 1)
        for index, view in zip(members, shrink(unit_range(pixels), size).unbind(1), strict=True):
            views[index] = view
    return torch.stack(views, 1)


def _turned(erp: Tensor, world_from_rig: Tensor) -> Tensor:
    """Each panorama shifted so that what a turn about the vertical brings forward comes to its middle."""
    upright = world_from_rig.new_tensor((0.0, 1.0, 0.0))
    if not torch.allclose(world_from_rig[:, :, 1], upright.expand(len(erp), 3), atol=1e-5):
        remedy = "Use augmentation 'yaw' or 'none' with this crop strategy."
        fail(
            "render_views", "world_from_rig", "turns about the vertical for crops", "another rotation", remedy
        )
    yaw = torch.atan2(world_from_rig[:, 0, 2], world_from_rig[:, 2, 2])
    shift = (yaw * (erp.shape[3] / (2 * torch.pi))).round().long().tolist()
    return torch.stack([image.roll(-columns, -1) for image, columns in zip(erp, shift, strict=True)])


def _cut(erp: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    left, top, columns, rows = box
    strip = erp[:, :, top : top + rows]
    beyond = left + columns - erp.shape[3]
    if beyond <= 0:
        return strip[..., left : left + columns]
    return torch.cat((strip[..., left:], strip[..., :beyond]), -1)


# ---- tiles ----------------------------------------------------------------------------------------


def _render_tiles(
    erp: Tensor,
    layout: ErpLayout,
    fov: Sequence[tuple[float, float]],
    size: Size,
    world_from_rig: Tensor | None,
    render: Callable[..., Tensor],
) -> Tensor:
    """[B,N,3,h,w] in [0,1]; `fov` of each tile is horizontal and vertical, in degrees."""
    batch, count = erp.shape[0], len(layout.tiles)
    rotation = layout.rotations.to(erp.device, torch.float32).expand(batch, count, 3, 3)
    if world_from_rig is not None:
        rotation = world_from_rig.to(rotation)[:, None] @ rotation
    tiles = render(
        erp,
        rotation.reshape(-1, 3, 3),
        hfov_deg=[horizontal for horizontal, _ in fov] * batch,
        vfov_deg=[vertical for _, vertical in fov] * batch,
        size=size,
        image_index=torch.arange(batch).repeat_interleave(count),
    )
    # In place spares a pass over fresh memory; the op's float32 tiles of bytes belong to nobody else.
    tiles = tiles.div_(255) if erp.dtype == torch.uint8 else tiles.float()
    return tiles.reshape(batch, count, 3, *size)


def _render_original(
    erp: Tensor,
    layout: ErpLayout,
    render_size: Size,
    size: Size,
    world_from_rig: Tensor | None,
    render: Callable[..., Tensor],
) -> Tensor:
    """Tiles as `OriginalTiles` describes them."""
    fov = [(tile.hfov_deg, max(tile.hfov_deg, tile.vfov_deg)) for tile in layout.tiles]
    tiles = round_to_bytes(_render_tiles(erp, layout, fov, render_size, world_from_rig, render))
    rows = render_size[0]
    views = []
    for index, tile in enumerate(layout.tiles):
        tan_x, tan_y = layout.half_tangents[index].tolist()
        trim = _rows_to_trim(tile, tan_y / tan_x, rows)
        views.append(resize(tiles[:, index, :, trim : rows - trim], size, to_bytes=True))
    return torch.stack(views, 1)


def _rows_to_trim(tile: ViewRecord, kept: float, rows: int) -> int:
    """Rows to drop at either end of a square field, so that the part `kept` of it, that of `tile`, is left."""
    if tile.vfov_deg >= tile.hfov_deg:
        return 0
    trim = rows * (1 - kept) / 2
    if abs(trim - round(trim)) > 1e-6:
        remedy = "Build the layout for this size: crop_layout(spec, erp_size, render_size)."
        fail("render_views", "render_size", "one at which tiles lose whole rows", f"{trim:g} rows", remedy)
    return round(trim)
