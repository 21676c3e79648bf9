"""What of a picture is kept, as a box of whole pixels and the exact affine map A that follows from it.

x' = A [x;1] in edge coordinates (pixel centres at +0.5); then K' = A K and points' = A points, whatever the box. A box
may reach out of the picture: what lies there is border, so the two axes of a square box are always scaled alike.

Source: spec multiview b.2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_trailing

_MODES = ("whole", "centred", "animal")

#: An animal of one labelled point is shown in a box of this side, in pixels.
_LEAST_SIDE = 16


class CropBox(NamedTuple):
    """The part of a picture that is shown, in its pixels."""

    x0: int
    y0: int
    width: int
    height: int

    def affine(self, size: int) -> Tensor:
        """A = crop_from_image, float64 [2,3]: the box, stretched to a picture of `size` x `size`.

        >>> CropBox(128, 0, 1024, 1024).affine(224).tolist()
        [[0.21875, 0.0, -28.0], [0.0, 0.21875, 0.0]]
        """
        if size < 1:
            fail("CropBox.affine", "size", "at least 1 pixel", size)
        x, y = size / self.width, size / self.height
        return torch.tensor([[x, 0.0, -self.x0 * x], [0.0, y, -self.y0 * y]], dtype=torch.float64)


def crop_box(
    mode: str, image_size: tuple[int, int], points: Tensor | None = None, margin: float = 0.05
) -> CropBox:
    """The box of a crop.

    whole: the picture. centred: the square of its shorter side, offsets floor((side - shorter) / 2). animal: the
    least square of whole pixels around the points, enlarged by `margin` of its side; it may leave the picture.

    Args:
        mode: which.
        image_size: (width, height) in pixels.
        points: [N,2] pixels, of "animal"; those that are not finite do not count.
        margin: of "animal", at least 0.

    Raises:
        ValueError: an unknown mode, an empty picture, or "animal" without a finite point.

    >>> crop_box("centred", (1280, 1024))
    CropBox(x0=128, y0=0, width=1024, height=1024)
    >>> crop_box("animal", (1280, 1024), torch.tensor([[100.0, 50.0], [300.0, 90.0]]), margin=0.0)
    CropBox(x0=100, y0=-30, width=200, height=200)
    """
    require_choice("crop_box", "mode", mode, _MODES)
    width, height = image_size
    if min(width, height) < 1:
        fail("crop_box", "image_size", "at least 1 pixel in both directions", image_size)
    if mode == "whole":
        return CropBox(0, 0, width, height)
    if mode == "centred":
        side = min(width, height)
        return CropBox((width - side) // 2, (height - side) // 2, side, side)
    return _animal_box(points, margin)


def _animal_box(points: Tensor | None, margin: float) -> CropBox:
    if not margin >= 0:
        fail("crop_box", "margin", "at least 0", margin)
    if points is not None:
        require_trailing("crop_box", "points", points, "N,2")
        points = points[torch.isfinite(points).all(-1)].double()
    if points is None or not len(points):
        fail(
            "crop_box",
            "points",
            "at least one finite point",
            "none",
            "Without labels show the whole picture.",
        )
    low, high = points.amin(0), points.amax(0)
    side = max((1 + margin) * float((high - low).max()), _LEAST_SIDE)
    corner = ((low + high - side) / 2).tolist()
    x0, y0 = (math.floor(value) for value in corner)
    whole = max(math.ceil(value + side) - math.floor(value) for value in corner)
    return CropBox(x0, y0, whole, whole)


def crop_points(affine: Tensor, points: Tensor) -> Tensor:
    """A [x;1] of points [...,N,2] in pixels under maps [...,2,3]; in the dtype of the points."""
    require_trailing("crop_points", "affine", affine, "2,3")
    require_trailing("crop_points", "points", points, "N,2")
    affine = affine.to(points.dtype)
    return points @ affine[..., :2].mT + affine[..., None, :, 2]


def crop_intrinsics(affine: Tensor, K: Tensor) -> Tensor:
    """K' = [A; 0 0 1] K [...,3,3] of the cropped picture, for maps [...,2,3]; in the dtype of K."""
    require_trailing("crop_intrinsics", "affine", affine, "2,3")
    require_trailing("crop_intrinsics", "K", K, "3,3")
    affine = affine.to(K.dtype)
    top = affine[..., :2] @ K[..., :2, :] + affine[..., 2:] @ K[..., 2:, :]
    return torch.cat((top, K[..., 2:, :].expand(*top.shape[:-2], 1, 3)), dim=-2)


def yx_from_pixels(points: Tensor, image_size: Tensor) -> Tensor:
    """(x, y) in pixels [...,2] as files keep them: (y, x) as shares of the sides (width, height) [...,2]."""
    require_trailing("yx_from_pixels", "points", points, "2")
    require_trailing("yx_from_pixels", "image_size", image_size, "2")
    return (points / image_size.to(points.dtype)).flip(-1)


def pixels_from_yx(points: Tensor, image_size: Tensor) -> Tensor:
    """(x, y) in pixels [...,2] of (y, x) as shares of the sides (width, height) [...,2]."""
    require_trailing("pixels_from_yx", "points", points, "2")
    require_trailing("pixels_from_yx", "image_size", image_size, "2")
    return points.flip(-1) * image_size.to(points.dtype)
