"""A photo of one's own, its camera, and where in it the object is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.data.images import decode_mask_picture, decode_rgb
from refkp.systems.pose.data.records import Box, mask_box, parse_json

_FORMS = '{"K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]}, {"fx", "fy", "cx", "cy"} or {"cam_K": [9 numbers]}'


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
        image: PNG or JPEG.
        camera: JSON, see `read_intrinsics`.
        mask: a picture of the same size; pixels that are not 0 show the object.
        box: x0, y0, x1, y1 in pixels around the object, the last two exclusive.

    Raises:
        ValueError: neither or both of mask and box; an empty mask, or one of another size; a box without area
            or beyond the picture; a file that cannot be read as what it should be.
    """
    if (mask is None) == (box is None):
        got = "neither" if mask is None else "both"
        fail("read_photo", "mask, box", "one of them: where the object is", got, "Give --mask or --box.")
    rgb = decode_rgb(Path(image).read_bytes(), str(image))
    size = (rgb.shape[1], rgb.shape[2])
    shown = _box_mask(box, size) if box is not None else _read_mask(Path(str(mask)), size)
    return Photo(rgb, shown, mask_box(shown), read_intrinsics(camera))


def read_intrinsics(path: Path | str) -> Tensor:
    """K [3,3] float64 of a JSON file.

    Three forms are read: {"K": [[...], [...], [...]]}; {"fx", "fy", "cx", "cy"}, the `camera.json` of BOP data
    sets (its `depth_scale` is not needed here); and {"cam_K": [9 numbers]}, an entry of `scene_camera.json`.

    Raises:
        ValueError: another form, focal lengths that are not positive, skew, or a last row other than 0, 0, 1.
    """
    content = parse_json(Path(path).read_bytes(), str(path))
    K = _intrinsics(content if isinstance(content, Mapping) else {})
    if K is None:
        got = sorted(content) if isinstance(content, Mapping) else type(content).__name__
        fail("read_intrinsics", str(path), f"of the form {_FORMS}", got)
    last = K[2].tolist() == [0.0, 0.0, 1.0] and float(K[1, 0]) == 0.0
    if not (bool(K.isfinite().all()) and last and float(K[0, 0]) > 0 and float(K[1, 1]) > 0):
        fail("read_intrinsics", str(path), "[[fx,0,cx],[0,fy,cy],[0,0,1]] with fx, fy > 0", K.tolist())
    if float(K[0, 1]) != 0:
        remedy = "Undistort the picture to a camera without skew."
        fail("read_intrinsics", str(path), "without skew", float(K[0, 1]), remedy)
    return K


def _intrinsics(content: Mapping[str, Any]) -> Tensor | None:
    """K as the file says it; None where it is in no form that is known."""
    try:
        if "K" in content or "cam_K" in content:
            numbers = content["K"] if "K" in content else content["cam_K"]
            return torch.tensor(numbers, dtype=torch.float64).reshape(3, 3)
        fx, fy, cx, cy = (float(content[name]) for name in ("fx", "fy", "cx", "cy"))
    except (KeyError, TypeError, ValueError, RuntimeError):
        return None
    return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)


def _read_mask(path: Path, size: tuple[int, int]) -> Tensor:
    mask = decode_mask_picture(path.read_bytes(), str(path))
    if tuple(mask.shape) != size:
        fail("read_photo", "mask", f"of the size of the picture {size}", tuple(mask.shape))
    if not bool(mask.any()):
        fail(
            "read_photo", "mask", "not empty", f"0 pixels in {str(path)!r}", "Mark the object, or give --box."
        )
    return mask


def _box_mask(box: Sequence[int], size: tuple[int, int]) -> Tensor:
    height, width = size
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        rule = f"x0 y0 x1 y1 with 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}"
        fail("read_photo", "box", rule, list(box))
    mask = torch.zeros(size, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask
