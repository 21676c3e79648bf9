"""Colours as bytes in sRGB, and in linear light, where they are multiplied."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_ROUNDING = 1e-3  # above 1: a factor that was computed
_LEAST_OF_BYTES = 2.0  # fractions below are rather factors of light than nearly black bytes


def linear_from_srgb(values: ArrayLike) -> Array:
    """sRGB in [0,1] to linear light in [0,1] (IEC 61966-2-1)."""
    srgb = np.asarray(values, dtype=np.float64)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(values: ArrayLike) -> Array:
    """The inverse of `linear_from_srgb`.

    >>> bool(np.allclose(srgb_from_linear(linear_from_srgb([0.02, 0.5, 1])), [0.02, 0.5, 1]))
    True
    """
    linear = np.asarray(values, dtype=np.float64)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)


def in_unit_range(values: ArrayLike, what: str) -> Array:
    """Colours, or factors of them, in [0,1]: files hold them so, or in 0..255, which are divided by it.

    One colour, or all that are written as one: where none is above 1 they are taken as they are. `what` names them
    in errors, with the file.

    Raises:
        ValueError: values outside 0..255, that are not finite, or that may be either: fractions, the largest a
            little above 1.

    >>> in_unit_range([51, 255, 0], "Kd").tolist()
    [0.2, 1.0, 0.0]
    """
    colours = np.asarray(values, dtype=np.float64)
    low, high = float(colours.min(initial=0)), float(colours.max(initial=0))
    if low >= 0 and high <= 1 + _ROUNDING:
        return np.minimum(colours, 1)
    is_either = high < _LEAST_OF_BYTES and bool((colours != np.rint(colours)).any())
    if not (low >= 0 and high <= 255) or is_either:  # NaN is in no range
        raise ValueError(f"{what} must be in 0..1 or in 0..255, not {low:g}..{high:g}. Write them again.")
    return colours / 255


def as_bytes(srgb: ArrayLike) -> NDArray[np.uint8]:
    """sRGB in [0,1] as the nearest bytes; what is outside is clipped.

    >>> as_bytes([0.9, 0.1, 1.5]).tolist()
    [230, 26, 255]
    """
    return np.floor(np.clip(np.asarray(srgb, dtype=np.float64), 0, 1) * 255 + 0.5).astype(np.uint8)


def tinted(texture: NDArray[np.uint8], factor: Array) -> NDArray[np.uint8]:
    """A texture uint8 [h,w,3] in sRGB times a factor [3], multiplied in linear light; clipped at white.

    >>> tinted(np.full((1, 1, 3), 220, np.uint8), np.array([1, 0.502, 0])).tolist()
    [[[220, 162, 0]]]
    """
    if (factor == 1).all():
        return texture
    light = linear_from_srgb(np.arange(256) / 255)
    tables = [as_bytes(srgb_from_linear(light * share)) for share in factor]
    return np.stack([table[texture[..., channel]] for channel, table in enumerate(tables)], -1)
