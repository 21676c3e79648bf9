"""Resizing of pictures with Pillow's filters, as two matrix products: batched, differentiable, any device.

Source: spec panorama 2.6 (LANCZOS of the crop strategies) and 2.2 (BICUBIC of the letterbox).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from refkp._checks import fail, require_choice

Filter = Literal["bicubic", "lanczos"]


def resize(
    pixels: Tensor, size: tuple[int, int], kernel: Filter = "lanczos", *, to_bytes: bool = False
) -> Tensor:
    """Resize pictures in [0,1] as `PIL.Image.resize` does.

    Each output pixel is the weighted mean of the input pixels within the reach of the filter, which is
    stretched where the picture shrinks, so that nothing aliases. One axis after the other, the rows first
    where they lose more than twice as many pixels as the columns (the order of Pillow 13, which its rounding
    makes visible); values are clamped to [0,1] after each of the two, since bytes cannot overshoot.

    Args:
        pixels: [...,H,W] floating, in [0,1].
        size: (height, width) of the result.
        kernel: the filter; "bicubic" has a = -1/2.
        to_bytes: also round to multiples of 1/255 after each of the two, as Pillow does.

    Returns:
        [...,height,width] of the dtype of `pixels`. Gradients reach `pixels` unless they are rounded.
    """
    if not pixels.is_floating_point():
        fail("resize", "pixels", "floating, in [0,1]", pixels.dtype, "Divide bytes by 255.")
    height, width = pixels.shape[-2:]
    rows_first = height > size[0] and height - size[0] > 2 * (width - size[1])
    for axis in (-2, -1) if rows_first else (-1, -2):
        source, target = pixels.shape[axis], size[axis]
        if source != target:
            matrix = _matrix_on(pixels.device, pixels.dtype, source, target, kernel)
            product = pixels @ matrix.mT if axis == -1 else matrix @ pixels
            pixels = round_to_bytes(product) if to_bytes else product.clamp(0, 1)
    return pixels


def round_to_bytes(pixels: Tensor) -> Tensor:
    """The nearest multiples of 1/255 in [0,1], halves upwards."""
    return (pixels.clamp(0, 1) * 255 + 0.5).floor() / 255


@functools.lru_cache(maxsize=64)
def _matrix_on(device: torch.device, dtype: torch.dtype, source: int, target: int, kernel: Filter) -> Tensor:
    with torch.inference_mode(False):  # a matrix first needed in validation also serves training
        return resize_matrix(source, target, kernel).to(device, dtype)


def resize_matrix(source: int, target: int, kernel: Filter) -> Tensor:
    """The weights [target,source] float64 of a resize along one axis; each row sums to one.

    w_ij = k((j + 1/2 - c_i) / s), c_i = (i + 1/2) source / target, s = max(source / target, 1), for the input
    pixels whose centres are within half a pixel of the reach of the filter.
    """
    require_choice("resize_matrix", "kernel", kernel, tuple(_KERNELS))
    if source < 1 or target < 1:
        fail("resize_matrix", "source, target", "positive", (source, target))
    reach, weight = _KERNELS[kernel]
    stretch = max(source / target, 1.0)
    centre = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * (source / target)
    pixel = torch.arange(source, dtype=torch.float64)
    first = (centre - reach * stretch + 0.5).floor()
    last = (centre + reach * stretch + 0.5).floor()
    weights = weight((pixel + 0.5 - centre) / stretch) * ((pixel >= first) & (pixel < last))
    return weights / weights.sum(1, keepdim=True)


def _bicubic(x: Tensor) -> Tensor:
    a, x = -0.5, x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _lanczos(x: Tensor) -> Tensor:
    return torch.where((x >= -3) & (x < 3), torch.sinc(x) * torch.sinc(x / 3), 0.0)


#: Filter -> its reach in pixels to either side, and its weights.
_KERNELS: dict[Filter, tuple[float, Callable[[Tensor], Tensor]]] = {
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
}
