"""Pictures, masks and depth maps from and to the bytes of PNG and JPEG files."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail
from refkp._extras import named_extras

with named_extras():
    import cv2

_NO_ORIENTATION = cv2.IMREAD_IGNORE_ORIENTATION  # K belongs to the pixels as stored


def decode_rgb(data: bytes, where: str) -> Tensor:
    """A picture of any depth of colour as uint8 [3,H,W]; grey becomes three equal channels."""
    pixels = _decode(data, cv2.IMREAD_COLOR | _NO_ORIENTATION, where)
    return torch.from_numpy(np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1)))


def decode_mask_picture(data: bytes, where: str) -> Tensor:
    """The pixels of a one-channel picture that are not 0, bool [H,W]."""
    return torch.from_numpy(_decode(data, cv2.IMREAD_GRAYSCALE | _NO_ORIENTATION, where) > 0)


def decode_depth(data: bytes, depth_scale: float, where: str) -> Tensor:
    """A 16-bit picture times `depth_scale`, float32 [H,W] in millimetres; 0 stays 0, which is "unknown"."""
    stored = _decode(data, cv2.IMREAD_UNCHANGED, where)
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise ValueError(f"{where} is not a 16-bit picture of one channel, as depth must be.")
    return torch.from_numpy((stored.astype(np.float64) * depth_scale).astype(np.float32))


def encode_rgb(rgb: Tensor, suffix: str, quality: int = 95) -> bytes:
    """uint8 [3,H,W] as the bytes of a ".png" or ".jpg" file."""
    pixels = np.ascontiguousarray(rgb.permute(1, 2, 0).numpy()[:, :, ::-1])
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def encode_mask_picture(mask: Tensor) -> bytes:
    """bool [H,W] as the bytes of a PNG file, 255 inside."""
    return cv2.imencode(".png", mask.numpy().astype(np.uint8) * 255)[1].tobytes()


def encode_depth(depth: Tensor, depth_scale: float) -> bytes:
    """float32 [H,W] in millimetres as a 16-bit PNG in units of `depth_scale` millimetres.

    Raises:
        ValueError: a value that is not finite, is negative, or does not fit 16 bits.
    """
    if not bool(torch.isfinite(depth).all()) or bool((depth < 0).any()):
        bad = int((~torch.isfinite(depth) | (depth < 0)).sum())
        fail(
            "encode_depth",
            "depth",
            "finite and not negative",
            f"{bad} bad pixels",
            "Write 0 where it is unknown.",
        )
    stored = np.rint(depth.numpy().astype(np.float64) / depth_scale)
    if stored.max(initial=0) > np.iinfo(np.uint16).max:
        reach = np.iinfo(np.uint16).max * depth_scale
        fail(
            "encode_depth",
            "depth",
            f"at most {reach:g} mm",
            f"{float(depth.max()):g}",
            "Raise `depth_scale`.",
        )
    return cv2.imencode(".png", stored.astype(np.uint16))[1].tobytes()


def _decode(data: bytes, flags: int, where: str) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if pixels is None:
        raise ValueError(f"{where} cannot be decoded as a picture. Fetch or write it again.")
    return pixels
