"""Pictures, masks and depth maps from and to the bytes of image files: one decoder, one rule each.

| | picture | mask | depth |
| --- | --- | --- | --- |
| result | uint8 [3,H,W] | bool [H,W] | float32 [H,W], millimetres |
| colour | grey is repeated, palettes and CMYK are converted | inside where any channel is not 0 | one channel alone |
| palette | its colours | its colours; its labels where no colour is black | refused |
| 16 bits | value / 257 | not 0 | times `depth_scale` |
| floats | in [0,1], times 255 | not 0 | times `depth_scale` |
| NaN, infinity | refused | refused | refused: 0 is unknown |
| alpha | left out, colours as stored | if any pixel is transparent, the opaque ones are inside | refused |
| stored with loss | as any | inside from 128 on, for edges ring | refused |
| EXIF | turned upright, as viewers show it | turned | turned |

So intrinsics belong to the upright picture. A damaged or cut file is an error, never grey pixels, and so is one of
more than `MAX_PIXELS`.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail, shape_text
from refkp._extras import named_extras

with named_extras():
    from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

#: From which value on something is inside where values blur: alpha, and masks stored with loss.
HALF = 128

#: The largest picture that is decoded, a panorama of 23170 x 11585 say: it takes 1 GB on the way.
MAX_PIXELS = 2**28

#: A picture that is to shrink is first brought to this many times its new size, by means of whole blocks.
_REDUCING_GAP = 3.0

_LOSSY = ("JPEG", "MPO", "JPEG2000", "AVIF")
_LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
_OF_16_BITS = ("I;16", "I;16L", "I;16B")
_PNG_AS_OPENCV = {"compress_level": 1, "compress_type": 3}  # run lengths: a tenth of the time, 15 % larger

#: Byte order of colours of 16 bits -> the order under whose name Pillow gives the other, lower, bytes.
_OTHER_BYTES = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_UPPER = np.uint16(256)
_OPENING = threading.Lock()


class _Stored(NamedTuple):
    """A decoded picture, upright, with what is known of the file alone."""

    image: Image.Image
    is_lossy: bool
    wide: NDArray[np.uint16] | None  # [H,W,C], colours of 16 bits, of which `image` has the upper 8 alone


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


def picture_size(data: bytes, where: str) -> tuple[int, int]:
    """(height, width) of a picture turned upright; nothing but its header is decoded.

    Raises:
        ValueError: it is no picture, or too large.
    """
    image = _opened(data, where)
    with _decoding(where):
        return image.size if _orientation(image) >= 5 else (image.height, image.width)


def sides_are_swapped(data: bytes, where: str) -> bool:
    """Whether the EXIF orientation turns a picture by a quarter, so that its width is the height of the file.

    Raises:
        ValueError: as `picture_size`.
    """
    image = _opened(data, where)
    with _decoding(where):
        return _orientation(image) >= 5


def decode_rgb(data: bytes, where: str, *, rows: int | None = None) -> Tensor:
    """A picture as uint8 [3,H,W], interleaved in memory; `where` names it in errors.

    Args:
        rows: brings it to so many, with its aspect, by a Lanczos filter. A large picture is reduced by means
            before, a JPEG while it is decoded, so that it is never whole in memory.

    Raises:
        ValueError: it cannot be decoded, is too large, or holds floats outside [0,1], NaN among them.
    """
    stored = _stored(data, where, rows)
    if stored.wide is None:
        return rgb_of(stored.image, where, rows=rows)
    colours = _bytes_of_16_bits(stored.wide[..., :3] if stored.wide.shape[2] > 2 else stored.wide[..., :1])
    return rgb_of(Image.fromarray(np.broadcast_to(colours, (*colours.shape[:2], 3)).copy()), where, rows=rows)


def rgb_of(image: Image.Image, where: str, *, rows: int | None = None) -> Tensor:
    """A Pillow image of any mode as uint8 [3,H,W], interleaved in memory; it is not turned (`upright`).

    Args:
        where: names it in errors.
        rows: as in `decode_rgb`.

    Raises:
        ValueError: whole numbers of 32 bits, or floats outside [0,1].
    """
    picture = _as_rgb(image, where)
    if rows is not None and rows != picture.height:
        size = max(1, round(picture.width * rows / picture.height)), rows
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def upright(image: Image.Image) -> Image.Image:
    """A Pillow image turned as its EXIF orientation says, as viewers show it."""
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def decode_mask_picture(data: bytes, where: str) -> Tensor:
    """Which pixels of a picture are inside, bool [H,W]; `where` names it in errors.

    Raises:
        ValueError: it cannot be decoded, holds NaN or infinity, or alpha and colour both tell a mask.
    """
    stored = _stored(data, where)
    colours, opaque = _colours_and_alpha(stored)
    _require_finite(colours, "decode_mask_picture", where, "Write 0 outside of the object and 1 inside.")
    drawn = np.any(colours >= HALF if stored.is_lossy else colours != 0, axis=2)
    if opaque is None or opaque.all():
        return torch.from_numpy(drawn)
    is_told_twice = len(np.unique(drawn[opaque])) == 2 and (colours[drawn] == colours[drawn][:1]).all()
    if is_told_twice:
        remedy = "Save the mask as black and white without alpha, or one colour with the object in alpha."
        fail("decode_mask_picture", where, "a mask in colour or in alpha", "both, which differ", remedy)
    return torch.from_numpy(opaque)


def decode_depth(data: bytes, depth_scale: float, where: str) -> Tensor:
    """A depth map as float32 [H,W]: the stored values times `depth_scale`; 0 stays 0, which is "unknown".

    Raises:
        ValueError: it cannot be decoded, has not one channel of more than 8 bits, or a value that is negative
            or not finite.
    """
    image = _stored(data, where).image
    if not (_is_of_16_bits(image) or image.mode in ("I", "F")):
        rule, got = "one channel of 16 bits or floats, as depth is", f"mode {image.mode}"
        fail("decode_depth", where, rule, got, "Write depth as a 16-bit PNG or a float TIFF.")
    values = np.array(image).astype(np.float64)
    remedy = "Write 0 where it is unknown."
    _require_finite(values, "decode_depth", where, remedy)
    if (values < 0).any():
        fail("decode_depth", where, "not negative", f"{int((values < 0).sum())} pixels that are", remedy)
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


def _stored(data: bytes, where: str, rows: int | None = None) -> _Stored:
    image = _opened(data, where)
    with _decoding(where):
        if rows is not None:
            share = _REDUCING_GAP * rows / min(image.size)
            image.draft(None, (int(share * image.width) + 1, int(share * image.height) + 1))
        raw_modes = {_raw_mode(tile.args) for tile in image.tile}
        image.load()
        turned = upright(image)
    return _Stored(turned, _is_lossy(image, data), _colours_of_16_bits(data, turned, raw_modes, where))


def _opened(data: bytes, where: str) -> ImageFile.ImageFile:
    """The picture with its header read alone."""
    with _decoding(where), _OPENING:  # Pillow's own limit is less than ours, and of the whole process
        kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(io.BytesIO(data))
        finally:
            Image.MAX_IMAGE_PIXELS = kept
    if image.width * image.height > MAX_PIXELS:
        got = f"{image.width} x {image.height}"
        fail("decode_rgb", where, f"of at most {MAX_PIXELS:,} pixels", got, "Reduce the picture.")
    return image


@contextmanager
def _decoding(where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a parser of any format may raise anything
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it has none of the formats that are read" if unknown else str(error)
        remedy = "Repair or remove the file, or fetch it again."
        raise ValueError(f"{where} cannot be decoded as a picture: {reason}. {remedy}") from error


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def _is_lossy(image: Image.Image, data: bytes) -> bool:
    """Whether values were changed when the file was written."""
    if image.format == "WEBP":
        return b"VP8L" not in data  # the part of a file without loss
    return image.format in _LOSSY or image.info.get("compression") in _LOSSY_TIFF


def _is_of_16_bits(image: Image.Image) -> bool:
    return image.mode in _OF_16_BITS or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _raw_mode(args: tuple[object, ...] | str | None) -> str:
    """How the pixels lie in the file, in Pillow's words, as "RGB;16B"."""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _colours_of_16_bits(
    data: bytes, upper: Image.Image, raw_modes: set[str], where: str
) -> NDArray[np.uint16] | None:
    """[H,W,C] of a picture of which Pillow gives the `upper` bytes; None for any other.

    It is decoded once more with the bytes of its values swapped.
    """
    if len(upper.getbands()) == 1 or not any(";16" in mode for mode in raw_modes):
        return None
    layout, _, order = min(raw_modes).partition(";16")
    if len(raw_modes) > 1 or layout not in ("RGB", "RGBA", "LA"):
        rule, remedy = "RGB, RGBA or grey with alpha where it has 16 bits", "Save it as a PNG."
        fail("decode_rgb", where, rule, ", ".join(sorted(raw_modes)), remedy)
    if layout == "LA":  # both bytes of both values, as if they were four colours
        four = _decoded_as("RGBA", data, where)
        return four[..., ::2] * _UPPER + four[..., 1::2]
    lower = _decoded_as(f"{layout};16{_OTHER_BYTES[order]}", data, where)
    return np.array(upper).astype(np.uint16) * _UPPER + lower


def _decoded_as(raw_mode: str, data: bytes, where: str) -> NDArray[np.uint16]:
    image = _opened(data, where)
    with _decoding(where):
        image.tile = [
            tile._replace(args=(raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode)
            for tile in image.tile
        ]
        return np.array(upright(image)).astype(np.uint16)


def _as_rgb(image: Image.Image, where: str) -> Image.Image:
    if _is_of_16_bits(image):
        return Image.fromarray(_bytes_of_16_bits(np.array(image))).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(_bytes_of_floats(np.array(image), where)).convert("RGB")
    if image.mode == "I":
        remedy = "Save it with 8 or 16 bits: a whole number of 32 bits does not say what is white."
        fail("decode_rgb", where, "a picture of 8 or 16 bits a channel", f"mode {image.mode}", remedy)
    if image.has_transparency_data and image.mode == "P":  # Pillow warns about the direct way
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _bytes_of_16_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _bytes_of_floats(values: NDArray[np.float32], where: str) -> NDArray[np.uint8]:
    remedy = "Divide by what is white, or save it with 8 or 16 bits."
    _require_finite(values, "decode_rgb", where, remedy)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        fail("decode_rgb", where, "in [0,1] where it holds floats", f"{low:g} to {high:g}", remedy)
    return np.rint(values * 255).astype(np.uint8)


def _require_finite(values: NDArray[Any], function: str, where: str, remedy: str) -> None:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        got = f"{bad} of {values.size} pixels NaN or infinite"
        fail(function, where, "finite", got, remedy)


def _colours_and_alpha(stored: _Stored) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """[H,W,C], and [H,W], whether a pixel is at least half opaque; None for a picture without alpha."""
    image, wide = stored.image, stored.wide
    if wide is not None:
        has_alpha = wide.shape[2] in (2, 4)
        return (wide[..., :-1], wide[..., -1] >= HALF << 8) if has_alpha else (wide, None)
    if image.has_transparency_data and not _is_of_16_bits(image):
        rgba = np.array(image.convert("RGBA"))
        return rgba[..., :3], rgba[..., 3] >= HALF
    labels = np.array(image)
    colours = np.array(image.convert("RGB")) if image.mode in ("P", "CMYK", "YCbCr") else labels
    colours = colours.reshape(*labels.shape[:2], -1)
    if image.mode == "P" and colours.any(2).all() and len(np.unique(labels)) > 1:
        return labels[..., None], None
    return colours, None


def _as_png(pixels: NDArray[np.generic]) -> bytes:
    return _encoded(pixels, "PNG", **_PNG_AS_OPENCV)


def _encoded(pixels: NDArray[np.generic], kind: str, **options: int) -> bytes:
    if not pixels.size:
        fail("encode_rgb", "rgb", "a picture with pixels", shape_text(pixels.shape))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()
