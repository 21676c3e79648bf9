"""camera_warp in Triton: float32 arithmetic over uint8, float32, float16 or bfloat16 storage.

A program has a block of output pixels, which go through the rows of their footprints together, and through each row in
strips of columns along a second axis. Backward scatters integers, whose sum has no order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from refkp.ops._fixed_point import gradient_scale

_BLOCK = 32
#: Columns of a strip with antialiasing; a sample has two.
_STRIP = 8


def forward(
    image: Tensor, cameras: Tensor, size: tuple[int, int], antialias: bool, fill: Sequence[float]
) -> Tensor:
    """[B,C,h,w] from images [B,C,H,W] of any strides."""
    out = image.new_empty(image.shape[0], image.shape[1], *size)
    if out.numel() == 0:
        return out
    fills = torch.tensor(fill, dtype=torch.float32, device=image.device)
    pixels = size[0] * size[1]
    _forward_kernel[(image.shape[0] * triton.cdiv(pixels, _BLOCK),)](
        image, _constants(cameras), fills, out, image.shape[1], *image.shape[2:], *image.stride(), size[1], pixels,
        ANTIALIAS=antialias, STRIP=_STRIP if antialias else 2, BYTES=image.dtype == torch.uint8, BLOCK=_BLOCK,
    )  # fmt: skip
    return out


def backward(grad_out: Tensor, cameras: Tensor, in_size: tuple[int, int], antialias: bool) -> Tensor:
    """The gradient [B,C,H,W] of the images."""
    grad_out = grad_out.contiguous()
    batch, channels, height, width = grad_out.shape
    grad_image = grad_out.new_zeros(batch, channels, *in_size)
    if grad_image.numel() == 0:
        return grad_image
    sums = torch.zeros(grad_image.shape, dtype=torch.int64, device=grad_out.device)
    scale = gradient_scale(grad_out)
    pixels = height * width
    _scatter_kernel[(batch * triton.cdiv(pixels, _BLOCK),)](
        grad_out, _constants(cameras), scale.reshape(1), sums, channels, *in_size, width, pixels,
        ANTIALIAS=antialias, STRIP=_STRIP if antialias else 2, BLOCK=_BLOCK,
    )  # fmt: skip
    return (sums.double() / scale).to(grad_out.dtype)


def _constants(cameras: Tensor) -> Tensor:
    """[B,22] float32: the cameras with the radius of the fold squared."""
    return torch.cat([cameras[:, :21], cameras[:, 21:].square()], dim=1).float().contiguous()


@triton.jit
def _lens(camera, u, v):
    """What the distortion adds to (u, v), the derivative of that, and the squared radius."""
    k1, k2, k3 = tl.load(camera + 16), tl.load(camera + 17), tl.load(camera + 20)
    p1, p2 = tl.load(camera + 18), tl.load(camera + 19)
    s = u * u + v * v
    radial = s * (k1 + s * (k2 + s * k3))
    slope = 2 * (k1 + s * (2 * k2 + s * (3 * k3)))
    du = u * radial + 2 * p1 * u * v + p2 * (s + 2 * u * u)
    dv = v * radial + p1 * (s + 2 * v * v) + 2 * p2 * u * v
    uu = radial + u * u * slope + 2 * p1 * v + 6 * p2 * u
    uv = u * v * slope + 2 * (p1 * u + p2 * v)
    vv = radial + v * v * slope + 6 * p1 * v + 2 * p2 * u
    return du, dv, uu, uv, vv, s


@triton.jit
def _linearise(camera, column, row):
    """The raw pixel of a place, its derivative by column and by row, the squared radius and the determinant."""
    a, b, c, d = tl.load(camera + 6), tl.load(camera + 7), tl.load(camera + 9), tl.load(camera + 10)
    u, v = a * column + (b * row + tl.load(camera + 8)), c * column + (d * row + tl.load(camera + 11))
    du, dv, uu, uv, vv, s = _lens(camera, u, v)
    m0, m1, m3, m4 = tl.load(camera), tl.load(camera + 1), tl.load(camera + 3), tl.load(camera + 4)
    f0, f1, f2, f3 = tl.load(camera + 12), tl.load(camera + 13), tl.load(camera + 14), tl.load(camera + 15)
    x = m0 * column + (m1 * row + tl.load(camera + 2)) + (f0 * du + f1 * dv)
    y = m3 * column + (m4 * row + tl.load(camera + 5)) + (f2 * du + f3 * dv)
    uc, vc, ur, vr = uu * a + uv * c, uv * a + vv * c, uu * b + uv * d, uv * b + vv * d
    xc, yc = m0 + (f0 * uc + f1 * vc), m3 + (f2 * uc + f3 * vc)
    xr, yr = m1 + (f0 * ur + f1 * vr), m4 + (f2 * ur + f3 * vr)
    return x, y, xc, yc, xr, yr, s, (1 + uu) * (1 + vv) - uv * uv


@triton.jit
def _footprint(camera, column, row, ANTIALIAS: tl.constexpr):
    """Middle, shear, width, height of every footprint (csrc/warp/camera_map.h), and whether it is before the fold."""
    x, y, xc, yc, xr, yr, s, lens_determinant = _linearise(camera, column, row)
    xx, xy, yy = xc * xc + xr * xr, xc * yc + xr * yr, yc * yc + yr * yr
    determinant, part = xc * yr - xr * yc, 1 / (yy + 2)
    least = 1.001 * 1.001
    tall = (yy > least) & ANTIALIAS
    squared_width = tl.where(tall, determinant * part * determinant + 2 * part * xx, xx)
    width = tl.sqrt(tl.where((squared_width > least) & ANTIALIAS, squared_width, 0.0))
    shear = tl.where(tall & (tl.abs(xy * part) < float("inf")), xy * part, 0.0)
    present = (s < tl.load(camera + 21)) & (lens_determinant > 0) & (x == x) & (y == y)
    return x, y, shear, width, tl.sqrt(tl.where(tall, yy, 0.0)), present


@triton.jit
def _window(middle, length, size):
    """The first pixel inside an axis that a side may weigh, and the one after the last."""
    reach = length / 2 + 1
    low, high = tl.maximum(middle - reach, -1.0), tl.maximum(middle + reach, -1.0)
    first, end = tl.floor(tl.minimum(low, size)) + 1, tl.ceil(tl.minimum(high, size))
    return first.to(tl.int32), end.to(tl.int32)


@triton.jit
def _weight(distance, length):
    """The mean of a pixel's tent over a side, at a distance from its middle; the tent where there is no length."""
    is_long = length > 0
    half, curve = tl.where(is_long, length / 2, 1.0), tl.where(is_long, 0.5, 0.0)
    away = tl.abs(distance)
    t = tl.minimum(tl.maximum(half - away, -2 * curve), 1.0)
    s = tl.maximum(1 - half - away, 0.0)
    return (curve + t * (1 - curve * tl.abs(t)) - curve * s * s) / tl.where(is_long, length, 1.0)


@triton.jit
def _row(i, foot, top, bottom, image_width):
    """Row i of every window: its number, weight, middle, first column and the one after the last."""
    x, y, shear, width, height = foot
    row = top + i
    down = row.to(tl.float32) - y
    middle = x + shear * down
    left, right = _window(middle, width, image_width)
    return row.to(tl.int64), _weight(down, height), middle, left, tl.where(row < bottom, right, left)


@triton.jit
def _strip(first, row_weight, middle, width, left, right, STRIP: tl.constexpr):
    """Columns and weights [BLOCK,STRIP] of a row from its column number `first` on; 0 outside."""
    column = (left + first)[:, None] + tl.arange(0, STRIP)[None, :]
    weight = row_weight[:, None] * _weight(column.to(tl.float32) - middle[:, None], width[:, None])
    return column, tl.where(column < right[:, None], weight, 0.0)


@triton.jit
def _pixels(cameras_ptr, out_width, pixels, height, BLOCK: tl.constexpr, ANTIALIAS: tl.constexpr):
    """The image of this program; number, mask and footprint of its pixels; their first row, and that after the last."""
    blocks = tl.cdiv(pixels, BLOCK)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    column, row = (pixel % out_width).to(tl.float32), (pixel // out_width).to(tl.float32)
    x, y, shear, foot_width, foot_height, present = _footprint(cameras_ptr + 22 * b, column, row, ANTIALIAS)
    top, bottom = _window(y, foot_height, height)
    bottom = tl.where((pixel < pixels) & present, bottom, top)
    return b, pixel, pixel < pixels, (x, y, shear, foot_width, foot_height), top, bottom


@triton.jit
def _forward_kernel(
    image_ptr, cameras_ptr, fill_ptr, out_ptr, channels, height, width,
    stride_image, stride_channel, stride_row, stride_column, out_width, pixels,
    ANTIALIAS: tl.constexpr, STRIP: tl.constexpr, BYTES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, pixel, mask, foot, top, bottom = _pixels(cameras_ptr, out_width, pixels, height, BLOCK, ANTIALIAS)
    for channel in range(channels):
        plane = image_ptr + b * stride_image + channel * stride_channel
        total, covered = tl.zeros((BLOCK,), dtype=tl.float32), tl.zeros((BLOCK,), dtype=tl.float32)
        for i in range(tl.max(bottom - top, axis=0)):
            row, row_weight, middle, left, right = _row(i, foot, top, bottom, width)
            line = (plane + row * stride_row)[:, None]
            for first in range(0, tl.max(right - left, axis=0), STRIP):
                column, weight = _strip(first, row_weight, middle, foot[3], left, right, STRIP)
                has = weight != 0
                value = tl.load(line + column.to(tl.int64) * stride_column, mask=has, other=0)
                total += tl.sum(tl.where(has, weight * value.to(tl.float32), 0.0), axis=1)
                covered += tl.sum(weight, axis=1)
        result = total + (1 - covered) * tl.load(fill_ptr + channel)
        if BYTES:
            result = tl.minimum(tl.maximum(result + 0.5, 0.0), 255.0).to(tl.uint8)
        tl.store(out_ptr + (b * channels + channel) * pixels + pixel, result, mask=mask)


@triton.jit
def _scatter_kernel(
    grad_ptr, cameras_ptr, scale_ptr, sums_ptr, channels, height, width, out_width, pixels,
    ANTIALIAS: tl.constexpr, STRIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, pixel, mask, foot, top, bottom = _pixels(cameras_ptr, out_width, pixels, height, BLOCK, ANTIALIAS)
    scale = tl.load(scale_ptr)
    for i in range(tl.max(bottom - top, axis=0)):
        row, row_weight, middle, left, right = _row(i, foot, top, bottom, width)
        for first in range(0, tl.max(right - left, axis=0), STRIP):
            column, weight = _strip(first, row_weight, middle, foot[3], left, right, STRIP)
            for channel in range(channels):
                at = b * channels + channel
                grad = tl.load(grad_ptr + at * pixels + pixel, mask=mask, other=0.0).to(tl.float64) * scale
                part = tl.floor(grad[:, None] * weight + 0.5).to(tl.int64)
                line = (sums_ptr + at * height * width + row * width)[:, None]
                tl.atomic_add(line + column, part, mask=weight != 0, sem="relaxed")
