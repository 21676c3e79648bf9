"""The way back: perspective tiles, or the faces of a cube, to an equirectangular panorama.

Plain torch, for pictures and preprocessing; `ops.e2p` is the hot path of the other direction. Source: spec
panorama 1.1 (geometry) and 7.22 (what users of the peers ask for).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import fail, require_choice, require_shape
from refkp.geometry import sphere
from refkp.systems.panorama.views.layout import ErpLayout

_EDGE = 1e-9  # relative; directions on the common border of two tiles belong to both
_LEAST_WEIGHT = 1e-4  # on the border of a tile, so that a direction seen there alone has a value


class ErpPicture(NamedTuple):
    """Panoramas put together from tiles."""

    pixels: Tensor  # [B,C,H,2H]; `fill` where no tile looks
    weight: Tensor  # [B,1,H,2H], sum of the blending weights; 0 where no tile looks


def tiles_to_erp(
    tiles: Tensor,
    layout: ErpLayout,
    height: int,
    *,
    world_from_rig: Tensor | None = None,
    feather: float = 0.5,
    fill: float = math.nan,
    convention: Literal["canonical", "py360convert"] = "canonical",
) -> ErpPicture:
    """Put perspective tiles back on the sphere, blended smoothly where they overlap.

    pixel(d) = sum_n w_n T_n(d) / sum_n w_n over the tiles n that see the direction d, T_n read bilinearly.
    The weight w_n = r(1 - |u|) r(1 - |v|) falls from the middle of a tile to its borders u, v = +-1, with
    r(x) = smoothstep(min(x / feather, 1)).

    Args:
        tiles: [B,N,C,h,w] floating, in the order of `layout.tiles`: of a `ViewSet`, that is
            pixels[:, layout.first_tile:]; of `cubemap.cube_layout()`, the faces F R B L U D.
        layout: where they look; its other views take no part.
        height: rows of the panorama. pi w / (2 tan(hfov / 2)) keep the resolution of the middle of a tile; far
            fewer alias.
        world_from_rig: [B,3,3], the rotation with which the tiles were rendered.
        feather: part of the way from the border to the middle of a tile over which its weight rises, in
            (0,1]; small values keep more of each tile and show steps between tiles that differ.
        fill: value of pixels that no tile sees; NaN by default, so that they are not mistaken for black.
        convention: pixel grid of the tiles, as in `ops.e2p`; py360convert's faces are "py360convert".

    Returns:
        The pictures and their weights, in the dtype of `tiles`. Gradients reach `tiles`.

    Raises:
        ValueError: a wrong shape or option; a layout without tiles.
    """
    layout.require_tiles("tiles_to_erp")
    require_shape("tiles_to_erp", "tiles", tiles, "B,N,C,h,w", N=len(layout.tiles))
    if not tiles.is_floating_point():
        fail("tiles_to_erp", "tiles", "floating", tiles.dtype, "Divide bytes by 255.")
    require_choice("tiles_to_erp", "convention", convention, ("canonical", "py360convert"))
    if height < 1:
        fail("tiles_to_erp", "height", "at least 1", height)
    if not 0 < feather <= 1:
        fail("tiles_to_erp", "feather", "in (0,1]", feather)
    directions = sphere.erp_directions(height, 2 * height).reshape(-1, 3).to(tiles.device)
    align_corners = convention == "py360convert"
    if world_from_rig is None:
        summed, weight = _blend(tiles, layout, directions, feather, align_corners)
    else:
        require_shape("tiles_to_erp", "world_from_rig", world_from_rig, "B,3,3", B=len(tiles))
        in_rig = (directions @ turn for turn in world_from_rig.to(directions))
        parts = [
            _blend(sample[None], layout, direction, feather, align_corners)
            for sample, direction in zip(tiles, in_rig, strict=True)
        ]
        summed, weight = (torch.cat(items) for items in zip(*parts, strict=True))
    seen = weight > 0
    pixels = torch.where(seen, summed / torch.where(seen, weight, 1.0), fill)
    return ErpPicture(*(item.unflatten(-1, (height, 2 * height)) for item in (pixels, weight)))


def _blend(
    tiles: Tensor, layout: ErpLayout, directions: Tensor, feather: float, align_corners: bool
) -> tuple[Tensor, Tensor]:
    """Weighted sum [B,C,D] and weights [B,1,D] at D directions in the frame of the layout."""
    batch, _, channels = tiles.shape[:3]
    summed = tiles.new_zeros(batch, channels, len(directions))
    weight = tiles.new_zeros(1, 1, len(directions))
    for index in range(len(layout.tiles)):
        rotation, half_tangent = (
            item[index].to(directions) for item in (layout.rotations, layout.half_tangents)
        )
        right, up, depth = (directions @ rotation).unbind(-1)
        place = torch.stack((right, -up), -1) / (half_tangent * depth[:, None])
        inside = (depth > 0) & (place.abs().amax(-1) <= 1 + _EDGE)
        pixel = inside.nonzero().squeeze(1)
        place = place[pixel].to(tiles.dtype)
        rise = ((1 - place.abs()) / feather).clamp(0, 1)
        share = (rise * rise * (3 - 2 * rise) + _LEAST_WEIGHT).prod(-1)
        grid = place[None, None].expand(batch, 1, -1, 2)
        sample = functional.grid_sample(
            tiles[:, index], grid, padding_mode="border", align_corners=align_corners
        )[:, :, 0]
        summed = summed.index_add(2, pixel, sample * share)
        weight = weight.index_add(2, pixel, share[None, None])
    return summed, weight.expand(batch, -1, -1)
