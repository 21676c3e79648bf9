"""Random changes to the views of a sample: of their colours, which move nothing, and of their place, with exact K.

What belongs to the scene (light, lens, what stands in the way) is drawn once for all views; the noise of a sensor is
that of its view. Source: spec multiview c.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from refkp._checks import fail
from refkp.geometry.affine import invert_affine
from refkp.ops import affine_warp
from refkp.systems.multiview.crops import crop_intrinsics, crop_points

_GREY = (0.299, 0.587, 0.114)  # of red, green, blue
_BLUR_KERNELS = (3, 5, 7)


@dataclass(frozen=True)
class ViewAugmentation:
    """How the views of a training sample are changed. Colours are in [0,1]; 0 changes nothing.

    Args:
        brightness: added to every pixel, drawn within +- this.
        contrast: the distance from the mean of the view is multiplied by a factor within 1 +- this.
        saturation: the distance from the grey picture likewise.
        noise: standard deviation of the noise of each sensor.
        blur_probability: of a Gaussian blur with an odd kernel of 3 to 7 pixels.
        erase_probability: of the same rectangle being filled with the mean of each view.
        erase_area: limits of its share of the picture.
        erase_aspect: its sides are to each other as between this and its inverse, in (0,1].
        zoom: all views are enlarged about their centre by a factor within 1 +- this.
        jitter: each view is shifted along both axes within +- this share of its side.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.15
    noise: float = 0.015
    blur_probability: float = 0.3
    erase_probability: float = 0.2
    erase_area: tuple[float, float] = (0.02, 0.1)
    erase_aspect: float = 0.3
    zoom: float = 0.1
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "noise", "zoom", "jitter"):
            if not 0 <= getattr(self, name) < 1:
                fail("ViewAugmentation", name, "in [0,1)", getattr(self, name))
        for name in ("blur_probability", "erase_probability"):
            if not 0 <= getattr(self, name) <= 1:
                fail("ViewAugmentation", name, "in [0,1]", getattr(self, name))
        if not (0 < self.erase_area[0] <= self.erase_area[1] < 1 and 0 < self.erase_aspect <= 1):
            got = (self.erase_area, self.erase_aspect)
            fail("ViewAugmentation", "erase_area, erase_aspect", "0 < low <= high < 1, and in (0,1]", got)


class PlacedViews(NamedTuple):
    """What an affine map of pictures moves."""

    images: Tensor  # [n,3,S,S]
    keypoints: Tensor  # [n,J,2] pixels
    visibility: Tensor  # [n,J]; 0 for what has left the picture
    K: Tensor | None  # [n,3,3]


def augment_colours(images: Tensor, spec: ViewAugmentation, generator: torch.Generator) -> Tensor:
    """Change the colours of views uint8 [n,3,S,S]."""
    draws = torch.rand(9, generator=generator).tolist()
    brightness, contrast, saturation = (2 * draw - 1 for draw in draws[:3])
    pixels = images.float() / 255 + spec.brightness * brightness
    mean = pixels.mean((1, 2, 3), keepdim=True)
    pixels = torch.lerp(mean, pixels, 1 + spec.contrast * contrast)
    grey = torch.einsum("c,nchw->nhw", pixels.new_tensor(_GREY), pixels)[:, None]
    pixels = torch.lerp(grey, pixels, 1 + spec.saturation * saturation)
    pixels = pixels + spec.noise * torch.randn(pixels.shape, generator=generator)
    if draws[3] < spec.blur_probability:
        pixels = _blurred(pixels, _BLUR_KERNELS[int(draws[4] * len(_BLUR_KERNELS))])
    if draws[5] < spec.erase_probability:
        rows, columns = _rectangle(spec, pixels.shape[-1], draws[6:])
        pixels[..., rows, columns] = pixels.mean((1, 2, 3), keepdim=True)
    return (255 * pixels.clamp(0, 1)).round().to(torch.uint8)


def _blurred(pixels: Tensor, size: int) -> Tensor:
    """Gaussian blur with a kernel of `size` pixels and the width that OpenCV gives it."""
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    offsets = torch.arange(size, dtype=pixels.dtype) - size // 2
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pixels, (size // 2,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.mT, groups=3)


def _rectangle(spec: ViewAugmentation, side: int, draws: list[float]) -> tuple[slice, slice]:
    """Rows and columns of a rectangle inside a square picture, from three draws in [0,1)."""
    low, high = spec.erase_area
    area = low + draws[0] * (high - low)
    # One draw gives the aspect; its logarithm is uniform, so that upright and lying rectangles are as frequent.
    aspect = spec.erase_aspect ** (2 * draws[1] - 1)
    height, width = (min(side, max(1, round(side * math.sqrt(area * a)))) for a in (aspect, 1 / aspect))
    place = draws[2] * (side - height + 1)
    top, left = int(place), int((place % 1) * (side - width + 1))
    return slice(top, top + height), slice(left, left + width)


def draw_placement(num_views: int, size: int, spec: ViewAugmentation, generator: torch.Generator) -> Tensor:
    """Maps A float64 [n,2,3] of views with `size` pixels: one zoom for all, a shift for each."""
    zoom = 1 + spec.zoom * (2 * float(torch.rand((), generator=generator)) - 1)
    shifts = 2 * torch.rand(num_views, 2, generator=generator, dtype=torch.float64) - 1
    affine = zoom_affine(zoom, torch.tensor([size, size])).repeat(num_views, 1, 1)
    affine[..., 2] += size * spec.jitter * shifts
    return affine


def zoom_affine(zoom: float, image_size: Tensor) -> Tensor:
    """A = float64 [2,3] that enlarges a picture (width, height) by `zoom` about its centre.

    >>> zoom_affine(1.5, torch.tensor([32, 16])).tolist()
    [[1.5, 0.0, -8.0], [0.0, 1.5, -4.0]]
    """
    if not 0 < zoom < math.inf:
        fail("zoom_affine", "zoom", "positive and finite", zoom)
    linear = zoom * torch.eye(2, dtype=torch.float64)
    return torch.cat((linear, ((1 - zoom) * image_size.double() / 2)[:, None]), dim=1)


def place_views(views: PlacedViews, affine: Tensor) -> PlacedViews:
    """Move views by maps A float64 [n,2,3]: pictures, keypoints and K alike.

    Pictures go on beyond their border as in a mirror whose face is the last pixel (reflect-101).
    """
    size = torch.tensor(views.images.shape[:1:-1])
    keypoints, visibility = place_points(affine, views.keypoints, views.visibility, size)
    K = None if views.K is None else crop_intrinsics(affine, views.K)
    return PlacedViews(_warped(views.images, affine), keypoints, visibility, K)


def place_points(
    affine: Tensor, keypoints: Tensor, visibility: Tensor, image_size: Tensor
) -> tuple[Tensor, Tensor]:
    """Keypoints [...,J,2] moved by maps [...,2,3], and their visibility [...,J], 0 outside (width, height)."""
    moved = crop_points(affine, keypoints)
    inside = ((moved >= 0) & (moved <= image_size.to(moved.dtype))).all(-1)
    return moved, torch.where(inside, visibility, torch.zeros_like(visibility))


def _warped(images: Tensor, affine: Tensor) -> Tensor:
    """Square pictures uint8 [n,3,S,S] as A moves them."""
    size = images.shape[-1]
    inverse = invert_affine(affine)
    corners = crop_points(inverse, torch.tensor([[0.0, 0.0], [size, size]], dtype=torch.float64))
    # Bilinear sampling reads one pixel beyond.
    pad = max(0, math.ceil(max(float(-corners.min()), float(corners.max()) - size)) + 1)
    if pad >= size:
        got = f"one that shows {pad} pixels beyond the border"
        fail("place_views", "affine", f"a map that a mirror of {size} pixels can fill", got)
    padded = F.pad(images.float(), (pad,) * 4, mode="reflect")
    side = size + 2 * pad
    theta = torch.cat((inverse[..., :2] * size / side, torch.zeros_like(inverse[..., 2:])), dim=-1)
    # Of the centre (0,0) of the output, in the padded picture's [-1,1].
    centre = crop_points(inverse, torch.full((1, 2), size / 2, dtype=torch.float64))[..., 0, :] + pad
    theta[..., 2] = 2 * centre / side - 1
    warped = affine_warp(padded, theta, size=(size, size))
    return warped.round().clamp(0, 255).to(torch.uint8)
