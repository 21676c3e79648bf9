"""A photo of one's own, its camera, and where in it the object is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from refkp._checks import fail
from refkp.data.images import decode_mask_picture, decode_rgb, read_bytes, sides_are_swapped
from refkp.systems.pose.crops import box_mask
from refkp.systems.pose.data.intrinsics import read_intrinsics
from refkp.systems.pose.data.records import Box, mask_box


class Photo(NamedTuple):
    """A picture with one object marked in it."""

    rgb: Tensor  # uint8 [3,H,W]
    mask: Tensor  # bool [H,W], the object, or the whole of its box
    box: Box  # x0, y0, x1, y1 around the mask, the last two exclusive
    K: Tensor  # float64 [3,3], pixel centres at +0.5

    @property
    def field_of_view_deg(self) -> tuple[float, float]:
        """Horizontal and vertical, of the whole picture."""
        height, width = self.mask.shape
        fx, fy, cx, cy = (float(self.K[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        across = math.atan(cx / fx) + math.atan((width - cx) / fx)
        down = math.atan(cy / fy) + math.atan((height - cy) / fy)
        return math.degrees(across), math.degrees(down)


def read_photo(
    image: Path | str,
    camera: Path | str,
    *,
    mask: Path | str | None = None,
    box: Sequence[int] | None = None,
) -> Photo:
    """Read a photo, its intrinsics, and either a mask or a box of the object.

    Args:
        image: PNG, JPEG or TIFF; see `refkp.data.images` for this and the mask.
        camera: JSON, see `refkp.systems.pose.data.intrinsics`.
        mask: a picture of the same size; pixels that are not 0 show the object.
        box: x0, y0, x1, y1 in pixels around the object, the last two exclusive.

    Raises:
        ValueError: neither or both of mask and box; an empty mask, or one of another size; a box without area
            or beyond the picture; a file that cannot be read as what it should be; a camera that contradicts
            the picture.
    """
    if (mask is None) == (box is None):
        got = "neither" if mask is None else "both"
        fail("read_photo", "mask, box", "one of them: where the object is", got, "Give --mask or --box.")
    data = read_bytes(image)
    rgb = decode_rgb(data, str(image))
    size = (rgb.shape[1], rgb.shape[2])
    shown = _box_mask(box, size) if box is not None else _read_mask(Path(str(mask)), size)
    K = read_intrinsics(camera, size, is_turned=sides_are_swapped(data, str(image)))
    return Photo(rgb, shown, mask_box(shown), K)


def _read_mask(path: Path, size: tuple[int, int]) -> Tensor:
    mask = decode_mask_picture(read_bytes(path), str(path))
    if tuple(mask.shape) != size:
        fail("read_photo", "mask", f"of the size of the picture {size}", tuple(mask.shape))
    if not bool(mask.any()):
        remedy = "Mark the object, in a JPEG with values from 128 on, or give --box."
        fail("read_photo", "mask", "not empty", f"0 pixels in {str(path)!r}", remedy)
    return mask


def _box_mask(box: Sequence[int], size: tuple[int, int]) -> Tensor:
    height, width = size
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        rule = f"x0 y0 x1 y1 with 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}"
        fail("read_photo", "box", rule, list(box))
    return box_mask((x0, y0, x1, y1), size)
