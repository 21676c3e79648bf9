"""Panoramas from files, Pillow images, arrays and tensors: bytes or floats [3,H,W], checked.

Source: spec panorama 14 (an unreadable picture is an error, never another picture).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail, shape_text
from refkp._extras import named_extras
from refkp.data.images import decode_rgb, picture_size, read_bytes, rgb_of, upright
from refkp.nn.pixels import unit_range
from refkp.systems.panorama.views.resize import resize

with named_extras():
    from PIL import Image

#: One panorama in any form that `as_erp` reads.
PanoramaInput = str | Path | Image.Image | NDArray[np.generic] | Tensor

_FULL_SPHERE = "Crop or pad it to a full 360 x 180 degree equirectangular panorama."


def read_panorama(path: str | Path, height: int | None = None) -> Tensor:
    """Decode a panorama to uint8 [3,H,2H], reduced or enlarged to `height` rows unless that is None.

    One much larger than `height` is reduced as it is read (`decode_rgb`), so that size costs little. The pixels stay
    interleaved in memory as decoded, which is what rendering from bytes is fastest on.

    Raises:
        ValueError: the picture cannot be decoded (see `refkp.data.images`), or is not twice as wide as high.
    """
    _require_rows(height)
    data = read_bytes(path)
    _require_full_sphere("read_panorama", "path", picture_size(data, str(path)), f" in {str(path)!r}")
    return decode_rgb(data, str(path), rows=height)


def panorama_rows(path: str | Path) -> int:
    """How many rows a panorama has, from its header; errors as in `read_panorama`."""
    size = picture_size(read_bytes(path), str(path))
    _require_full_sphere("panorama_rows", "path", size, f" in {str(path)!r}")
    return size[0]


def as_erp(panorama: PanoramaInput, height: int | None = None) -> Tensor:
    """A panorama as [3,H,2H], uint8, or floating in [0,1].

    Args:
        panorama: a path; a Pillow image of any mode; an array [H,W,3] or a tensor [3,H,W], uint8, or floating
            in [0,1].
        height: rows of the result; None keeps those of the picture.

    Raises:
        TypeError: something else.
        ValueError: undecodable, not three channels, not twice as wide as high, floats outside [0,1].
    """
    if isinstance(panorama, (str, Path)):
        return read_panorama(panorama, height)
    if isinstance(panorama, Image.Image):
        _require_rows(height)
        picture = upright(panorama)
        _require_full_sphere("as_erp", "panorama", (picture.height, picture.width))
        return rgb_of(picture, "panorama", rows=height)
    if isinstance(panorama, np.ndarray):
        if panorama.ndim != 3 or panorama.shape[2] != 3:
            fail("as_erp", "panorama", "an array [H,W,3]", shape_text(panorama.shape))
        return _from_tensor(torch.from_numpy(np.ascontiguousarray(panorama)).permute(2, 0, 1), height)
    if isinstance(panorama, Tensor):
        if panorama.dim() != 3 or panorama.shape[0] != 3:
            fail("as_erp", "panorama", "a tensor [3,H,W]", shape_text(panorama.shape))
        return _from_tensor(panorama, height)
    kind = type(panorama).__name__
    raise TypeError(f"as_erp: `panorama` must be a path, Pillow image, array or tensor; got {kind}.")


def stack_panoramas(panoramas: Sequence[Tensor]) -> Tensor:
    """Panoramas [3,H,W] of one size as a batch [B,3,H,W]; bytes are interleaved in memory.

    Panoramas of bytes and of floats together become floats.
    """
    if len({panorama.dtype for panorama in panoramas}) > 1:
        panoramas = [unit_range(panorama) for panorama in panoramas]
    if panoramas[0].dtype != torch.uint8:
        return torch.stack(list(panoramas))
    return torch.stack([panorama.permute(1, 2, 0) for panorama in panoramas]).permute(0, 3, 1, 2)


def _from_tensor(pixels: Tensor, height: int | None) -> Tensor:
    if not (pixels.dtype == torch.uint8 or pixels.is_floating_point()):
        fail("as_erp", "panorama", "of bytes, or floats in [0,1]", str(pixels.dtype))
    if pixels.is_floating_point() and pixels.numel():
        low, high = (float(value) for value in pixels.detach().aminmax())
        if not (low >= 0 and high <= 1):  # NaN is neither
            fail("as_erp", "panorama", "in [0,1] if floating", f"values from {low:g} to {high:g}",
                 "Divide bytes by 255.")  # fmt: skip
    _require_full_sphere("as_erp", "panorama", (pixels.shape[1], pixels.shape[2]))
    _require_rows(height)
    if height is None or height == pixels.shape[1]:
        return pixels
    is_bytes = pixels.dtype == torch.uint8
    resized = resize(unit_range(pixels), (height, 2 * height), to_bytes=is_bytes)
    return (255 * resized).round().to(torch.uint8) if is_bytes else resized


def _require_rows(height: int | None) -> None:
    if height is not None and height < 1:
        fail("as_erp", "height", "at least 1", height)


def _require_full_sphere(function: str, argument: str, size: tuple[int, int], where: str = "") -> None:
    height, width = size
    if height < 1 or width != 2 * height:
        got = f"{(width, height)}{where}"
        fail(function, argument, "a panorama twice as wide as high", got, _FULL_SPHERE)
