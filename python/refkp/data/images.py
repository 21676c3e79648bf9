"""Pictures, masks and depth maps from and to the bytes of image files: one decoder, one rule each.

| | picture | mask | depth |
| --- | --- | --- | --- |
| result | uint8 [3,H,W] | bool [H,W] | float32 [H,W], millimetres |
| colour | grey is repeated, palettes and CMYK are converted | inside where any channel is not 0 | one channel alone |
| 16 bits | value / 257 | not 0, one channel alone | times `depth_scale` |
| floats | refused, their range is unknown | not 0 | times `depth_scale` |
| alpha | left out, colours as stored | if any pixel is transparent, the opaque ones are inside | refused |
| JPEG | as any | inside from 128 on, for edges ring | refused |
| EXIF | turned upright, as viewers show it | turned | turned |

So intrinsics belong to the upright picture. A damaged or cut file is an error, never grey pixels.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail, shape_text
from refkp._extras import named_extras

with named_extras():
    from PIL import ExifTags, Image, ImageOps

#: From which value on something is inside where values blur: alpha, and grey stored with loss.
HALF = 128

_LOSSY = ("JPEG", "MPO")
_OF_16_BITS = ("I;16", "I;16L", "I;16B")
_PNG_AS_OPENCV = {"compress_level": 1, "compress_type": 3}  # run lengths: a tenth of the time, 15 % larger


class _Stored(NamedTuple):
    """A decoded picture, upright, with what is known of the file alone."""

    image: Image.Image
    is_lossy: bool
    is_cut_to_bytes: bool  # colours of 16 bits, of which Pillow gives the upper 8


def read_rgb(path: Path | str) -> Tensor:
    """The picture of a file as uint8 [3,H,W], interleaved in memory.

    Raises:
        ValueError: the file cannot be read, or see `decode_rgb`.
    """
    return decode_rgb(read_bytes(path), str(path))


def read_bytes(path: Path | str) -> bytes:
    """What a decoder takes; ValueError that names the file where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read: {error.strerror or error}. Restore the file, or name another."
        ) from error


def decode_rgb(data: bytes, where: str) -> Tensor:
    """A picture as uint8 [3,H,W], interleaved in memory; `where` names it in errors.

    Raises:
        ValueError: it cannot be decoded, is too large, or holds floats.
    """
    return rgb_of(_stored(data, where).image, where)


def rgb_of(image: Image.Image, where: str) -> Tensor:
    """A Pillow image of any mode as uint8 [3,H,W], interleaved in memory; it is not turned."""
    if _is_of_16_bits(image):
        grey = ((np.array(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
        return torch.from_numpy(grey[..., None].repeat(3, axis=2)).permute(2, 0, 1)
    if image.mode in ("I", "F"):
        remedy = "Save it with 8 or 16 bits: a number of another kind does not say what is white."
        fail("decode_rgb", where, "a picture of 8 or 16 bits a channel", f"mode {image.mode}", remedy)
    if image.has_transparency_data and image.mode == "P":  # Pillow warns about the direct way
        image = image.convert("RGBA")
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def decode_mask_picture(data: bytes, where: str) -> Tensor:
    """Which pixels of a picture are inside, bool [H,W]; `where` names it in errors.

    Raises:
        ValueError: it cannot be decoded, its colours have 16 bits, of which small labels would be lost, or
            alpha and colour both tell a mask.
    """
    stored = _stored(data, where)
    if stored.is_cut_to_bytes:
        remedy = "Save it with one channel, or with 8 bits."
        fail("decode_mask_picture", where, "of 8 bits where it has colours", "16 bits a channel", remedy)
    least = HALF if stored.is_lossy else 0
    image = stored.image
    if not image.has_transparency_data:
        return _any_channel(image, least)
    opaque = np.array(image.convert("RGBA"))[..., 3] >= HALF
    drawn = _any_channel(image.convert("RGBA").convert("RGB"), least)
    if opaque.all():
        return drawn
    inside = torch.from_numpy(opaque)
    if len(drawn[inside].unique()) == 2 and _has_one_colour(image, drawn):
        remedy = "Save the mask as black and white without alpha, or one colour with the object in alpha."
        fail("decode_mask_picture", where, "a mask in colour or in alpha", "both, which differ", remedy)
    return inside


def decode_depth(data: bytes, depth_scale: float, where: str) -> Tensor:
    """A depth map as float32 [H,W]: the stored values times `depth_scale`; 0 stays 0, which is "unknown".

    Raises:
        ValueError: it cannot be decoded, has not one channel of 16 bits or floats, or a value that is negative
            or not finite.
    """
    image = _stored(data, where).image
    if not (_is_of_16_bits(image) or image.mode == "F"):
        rule, got = "one channel of 16 bits or floats, as depth is", f"mode {image.mode}"
        fail("decode_depth", where, rule, got, "Write depth as a 16-bit PNG or a float TIFF.")
    values = np.array(image).astype(np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        fail("decode_depth", where, "finite and not negative", "other values", "Write 0 where it is unknown.")
    return torch.from_numpy((values * depth_scale).astype(np.float32))


def decode_cutout(data: bytes, where: str) -> tuple[Tensor, Tensor]:
    """A picture whose alpha is a mask: uint8 [3,H,W], and bool [H,W] where it is at least half opaque.

    Raises:
        ValueError: it cannot be decoded, or has no alpha.
    """
    image = _stored(data, where).image
    if not image.has_transparency_data:
        got = f"mode {image.mode}"
        fail("decode_cutout", where, "RGBA with the mask in alpha", got, "Save it with alpha.")
    rgba = np.array(image.convert("RGBA"))
    return torch.from_numpy(rgba[..., :3]).permute(2, 0, 1), torch.from_numpy(rgba[..., 3] >= HALF)


def encode_rgb(rgb: Tensor, suffix: str, quality: int = 95) -> bytes:
    """uint8 [3,H,W], or [4,H,W] with alpha, as the bytes of a ".png" or ".jpg" file."""
    pixels = np.ascontiguousarray(rgb.permute(1, 2, 0).numpy())
    return _encoded(pixels, "JPEG", quality=quality) if suffix == ".jpg" else _as_png(pixels)


def encode_depth(depth: Tensor, depth_scale: float) -> bytes:
    """float32 [H,W] in millimetres as a 16-bit PNG in units of `depth_scale` millimetres.

    Raises:
        ValueError: a value that is not finite, is negative, or does not fit 16 bits.
    """
    values = depth.numpy().astype(np.float64)
    bad = int((~np.isfinite(values) | (values < 0)).sum())
    if bad:
        remedy = "Write 0 where it is unknown."
        fail("encode_depth", "depth", "finite and not negative", f"{bad} bad pixels", remedy)
    stored = np.rint(values / depth_scale)
    if stored.max(initial=0) > np.iinfo(np.uint16).max:
        reach = np.iinfo(np.uint16).max * depth_scale
        got = f"{values.max():g}"
        fail("encode_depth", "depth", f"at most {reach:g} mm", got, "Raise `depth_scale`.")
    return _as_png(stored.astype(np.uint16))


def _stored(data: bytes, where: str) -> _Stored:
    try:
        with Image.open(io.BytesIO(data)) as image:
            is_cut = len(image.getbands()) > 1 and ";16" in str(image.tile)
            image.load()
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            return _Stored(
                ImageOps.exif_transpose(image) if turned else image, image.format in _LOSSY, is_cut
            )
    except Image.DecompressionBombError as error:
        raise ValueError(f"{where} is too large to decode: {error} Reduce the picture.") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        remedy = "Repair or remove the file, or fetch it again."
        raise ValueError(f"{where} cannot be decoded as a picture: {error}. {remedy}") from error


def _is_of_16_bits(image: Image.Image) -> bool:
    return image.mode in _OF_16_BITS or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _any_channel(image: Image.Image, least: int) -> Tensor:
    """Where any channel of an image without alpha is above 0, or at least `least`."""
    pixels = np.array(image.convert("RGB") if image.mode in ("P", "CMYK", "YCbCr") else image)
    inside = pixels >= least if least else pixels != 0
    return torch.from_numpy(inside.any(2) if inside.ndim == 3 else inside)


def _has_one_colour(image: Image.Image, drawn: Tensor) -> bool:
    colours = np.array(image.convert("RGBA"))[..., :3][drawn.numpy()]
    return bool((colours == colours[:1]).all())


def _as_png(pixels: NDArray[np.generic]) -> bytes:
    return _encoded(pixels, "PNG", **_PNG_AS_OPENCV)


def _encoded(pixels: NDArray[np.generic], kind: str, **options: int) -> bytes:
    if not pixels.size:
        fail("encode_rgb", "rgb", "a picture with pixels", shape_text(pixels.shape))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
