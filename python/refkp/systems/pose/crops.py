"""Square crops whose intrinsics are exact: K' = M K with pixel centres at +0.5 on both sides.

Source: spec pose 2.6.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_shape
from refkp.systems.pose.views import Views

Mode = Literal["area", "bilinear", "nearest"]

Box = tuple[int, int, int, int]  # x0, y0, x1, y1, the last two exclusive

#: A pixel whose share of the object is smaller than this holds no colour to recover.
_LEAST_SHARE = 1e-3


class Crop(NamedTuple):
    """A box of an image, enlarged or shrunk alike along both axes into a square; outside the box it is 0."""

    matrix: Tensor  # float64 [3,3], crop_from_image: x' = scale (x - x0) + pad, pixel centres at +0.5
    size: int  # side in pixels
    box: Box


def square_crop(box: Box, size: int, *, pad_ratio: float = 0.0) -> Crop:
    """The crop that shows a box as large as fits into a square.

    scale = size / ((1 + 2 pad_ratio) max(w, h)); what is left of the square is split between the two sides, the
    left and the upper getting the smaller half in whole pixels.

    Args:
        box: x0, y0, x1, y1 in pixels, the last two exclusive; it may reach out of the image.
        size: side of the crop in pixels.
        pad_ratio: empty border on each side, as a share of the longer side of the box.

    Raises:
        ValueError: the box is empty, `size` is not positive, or `pad_ratio` is negative.

    >>> square_crop((10, 20, 66, 76), 224).matrix.tolist()
    [[4.0, 0.0, -40.0], [0.0, 4.0, -80.0], [0.0, 0.0, 1.0]]
    """
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        fail("square_crop", "box", "x0 < x1 and y0 < y1", box, "An empty mask has no box.")
    if size < 1:
        fail("square_crop", "size", "positive", size)
    if pad_ratio < 0:
        fail("square_crop", "pad_ratio", "0 or more", pad_ratio)
    scale = size / ((1 + 2 * pad_ratio) * max(x1 - x0, y1 - y0))
    left, top = (math.floor((size - scale * side) / 2 + 1e-9) for side in (x1 - x0, y1 - y0))
    matrix = [[scale, 0.0, left - scale * x0], [0.0, scale, top - scale * y0], [0.0, 0.0, 1.0]]
    return Crop(torch.tensor(matrix, dtype=torch.float64), size, box)


def mask_box(mask: Tensor) -> Box:
    """The smallest box around a mask [H,W].

    Raises:
        ValueError: the mask is empty.

    >>> mask = torch.zeros(4, 6, dtype=torch.bool)
    >>> mask[1:3, 2] = True
    >>> mask_box(mask)
    (2, 1, 3, 3)
    """
    require_shape("mask_box", "mask", mask, "H,W")
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    if not len(rows):
        fail(
            "mask_box", "mask", "of at least one pixel", "an empty mask", "The object is not in the picture."
        )
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_mask(box: Box, size: tuple[int, int]) -> Tensor:
    """bool [H,W] of `size`, the pixels of a box.

    >>> mask_box(box_mask((2, 1, 3, 3), (4, 6)))
    (2, 1, 3, 3)
    """
    x0, y0, x1, y1 = box
    mask = torch.zeros(size, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


def crop_image(image: Tensor, crop: Crop, mode: Mode = "area") -> Tensor:
    """Resample an image in a crop; 0 outside the box and outside the image.

    "area" averages the bilinear interpolant of the image over the area of each pixel of the crop, so nothing
    aliases, and an image that is linear in x and y stays exactly so at the places that `crop.matrix` tells
    (except next to the border of the box). "bilinear" takes the interpolant at the pixel centre, "nearest" the
    pixel in which it falls.

    Args:
        image: [...,H,W]; floating for "area" and "bilinear", anything for "nearest".
        crop: from `square_crop`.
        mode: as above.

    Returns:
        [...,size,size] of the dtype of `image`.

    Raises:
        ValueError: an unknown mode, or an image of integers that is to be averaged.
    """
    require_choice("crop_image", "mode", mode, ("area", "bilinear", "nearest"))
    if mode != "nearest" and not image.is_floating_point():
        fail("crop_image", "image", "floating", image.dtype, "Divide bytes by 255.")
    height, width = image.shape[-2:]
    x0, y0, x1, y1 = crop.box
    rows, columns = range(max(y0, 0), min(y1, height)), range(max(x0, 0), min(x1, width))
    result_shape = (*image.shape[:-2], crop.size, crop.size)
    if not rows or not columns:
        return image.new_zeros(result_shape)
    part = image[..., rows.start : rows.stop, columns.start : columns.stop]
    axes = ((columns, (x0, x1), 0, -1), (rows, (y0, y1), 1, -2))
    for pixels, limits, axis, dim in axes:
        scale, shift = crop.matrix[axis, axis].item(), crop.matrix[axis, 2].item()
        edges = (torch.arange(crop.size + 1, dtype=torch.float64) - shift) / scale
        if mode == "nearest":
            part = _take(part, edges, pixels, dim)
        else:
            weights = _weights(edges, pixels, limits, mode).to(part)
            part = part @ weights.mT if dim == -1 else weights @ part
    return part


def crop_views(
    rgb: Tensor,
    mask: Tensor,
    depth: Tensor | None,
    K: Tensor,
    cam_from_obj: Tensor,
    box: Box,
    size: int,
    *,
    pad_ratio: float = 0.0,
) -> Views:
    """One object in a square crop with all that is known of it.

    Colours are averaged over the object's pixels alone, so that no background bleeds in at its outline.

    Args:
        rgb: uint8, or floating in [0,1], [3,H,W].
        mask: bool [H,W], the object.
        depth: floating [H,W], millimetres; what is not finite or not positive counts as unknown. None: unknown.
        K: [3,3] of the picture.
        cam_from_obj: [4,4], millimetres.
        box: what to show, usually `mask_box(mask)`.
        size: side of the crop.
        pad_ratio: as in `square_crop`.

    Returns:
        Views without leading axes.

    Raises:
        ValueError: shapes that do not fit, or a mask that is empty in the box. (A line thinner than a new pixel may
            still be lost.)
    """
    require_shape("crop_views", "rgb", rgb, "3,H,W", H=mask.shape[-2], W=mask.shape[-1])
    if depth is not None:
        require_shape("crop_views", "depth", depth, "H,W", H=mask.shape[-2], W=mask.shape[-1])
    crop = square_crop(box, size, pad_ratio=pad_ratio)
    x0, y0, x1, y1 = box
    y0, x0 = max(y0, 0), max(x0, 0)
    inside = (..., slice(y0, max(y1, y0)), slice(x0, max(x1, x0)))  # convert no more than is shown
    local = crop._replace(
        matrix=crop.matrix @ _shift(x0, y0), box=(box[0] - x0, box[1] - y0, x1 - x0, y1 - y0)
    )
    part = rgb[inside]
    colours = part.float() / 255 if rgb.dtype == torch.uint8 else part.float()
    share = mask[inside].float()
    new_mask = crop_image(mask[inside].bool(), local, "nearest")
    if not mask[inside].any():
        fail("crop_views", "mask", "of at least one pixel in the box", f"none within {box}")
    new_share = crop_image(share, local)
    images = crop_image(colours * share, local) / new_share.clamp(min=_LEAST_SHARE)
    new_depth = torch.zeros(size, size)
    if depth is not None:
        known = torch.where(torch.isfinite(depth[inside]) & (depth[inside] > 0), depth[inside], 0).float()
        new_depth = crop_image(known, local, "nearest") * new_mask
    return Views(
        (images * new_mask).clamp(0, 1), new_mask, new_depth, crop.matrix @ K.double(), cam_from_obj.double()
    )


def _shift(x: float, y: float) -> Tensor:
    """The translation by (x, y)."""
    return torch.tensor([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]], dtype=torch.float64)


def _take(part: Tensor, edges: Tensor, pixels: range, dim: int) -> Tensor:
    """The pixel in which each centre falls, 0 outside."""
    index = ((edges[:-1] + edges[1:]) / 2).floor().long() - pixels.start
    inside = (index >= 0) & (index < len(pixels))
    taken = part.index_select(dim, index.clamp(0, len(pixels) - 1).to(part.device))
    shape = (-1,) if dim == -1 else (-1, 1)
    return torch.where(
        inside.view(shape).to(part.device), taken, torch.zeros((), dtype=part.dtype, device=part.device)
    )


def _weights(edges: Tensor, pixels: range, limits: tuple[int, int], mode: Mode) -> Tensor:
    """[size,n] float64: how the pixels of one axis mix; rows sum to one where the centre is shown, else are zero."""
    centres = (edges[:-1] + edges[1:]) / 2
    source = torch.arange(pixels.start, pixels.stop, dtype=torch.float64) + 0.5
    if mode == "bilinear":
        weights = (1 - (centres[:, None] - source).abs()).clamp(min=0)
    else:
        integral = _hat_integral(edges[:, None] - source)
        weights = integral[1:] - integral[:-1]
    shown = (centres >= max(limits[0], pixels.start)) & (centres < min(limits[1], pixels.stop))
    return torch.where(shown[:, None], weights / weights.sum(1, keepdim=True), 0.0)


def _hat_integral(x: Tensor) -> Tensor:
    """Integral of max(0, 1 - |x|) from minus infinity."""
    x = x.clamp(-1, 1)
    return torch.where(x < 0, (x + 1).square() / 2, 1 - (1 - x).square() / 2)
