"""camera_warp in Triton: float32 arithmetic over uint8, float32, float16 or bfloat16 storage.

A program has a block of output pixels, which go through their cells together; all taps of a cell lie along a second
axis of the block, each with a mask of the pixels that have it. Backward scatters integers, whose sum has no order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from refkp.ops._fixed_point import gradient_scale

_BLOCK = 32
#: Of a cell with antialiasing, at most.
_TAPS = 64


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
        TAPS=_TAPS if antialias else 1, BYTES=image.dtype == torch.uint8, BLOCK=_BLOCK,
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
        TAPS=_TAPS if antialias else 1, BLOCK=_BLOCK,
    )  # fmt: skip
    return (sums.double() / scale).to(grad_out.dtype)


def _constants(cameras: Tensor) -> Tensor:
    """[B,23] float32: the cameras with the squares of the radius of the fold, and of that and the reach of a pixel."""
    fold, reach = cameras[:, 21], cameras[:, [6, 7, 9, 10]].abs().sum(1)
    limits = torch.stack([fold.square(), (fold + reach).square()], dim=1)
    return torch.cat([cameras[:, :21], limits], dim=1).float().contiguous()


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
def _counts(squared_length):
    """Cells of a pixel along one axis, and taps of a cell; NaN counts as no length."""
    squared = tl.minimum(tl.where(squared_length > 0, squared_length, 0.0), 4096.0 * 4096.0)
    length = tl.sqrt(squared) / 1.001
    taps = tl.where(length <= 1, 1, tl.where(length <= 2, 4, 8))
    return tl.maximum(tl.ceil(length / 8), 1.0).to(tl.int32), taps.to(tl.int32)


@triton.jit
def _plan(camera, column, row, height, width, TAPS: tl.constexpr):
    """The cells and the taps of a cell of every pixel, along columns and rows."""
    x, y, xc, yc, xr, yr, s, _ = _linearise(camera, column, row)
    reach_x, reach_y = tl.abs(xc) + tl.abs(xr), tl.abs(yc) + tl.abs(yr)
    seen = (s < tl.load(camera + 22)) & (x + reach_x > -1) & (x - reach_x < width)
    seen = seen & (y + reach_y > -1) & (y - reach_y < height) & (TAPS > 1)
    cells_x, taps_x = _counts(tl.where(seen, xc * xc + yc * yc, 0.0))
    cells_y, taps_y = _counts(tl.where(seen, xr * xr + yr * yr, 0.0))
    return cells_x, taps_x, cells_y, taps_y


@triton.jit
def _positions(camera, column, row, i, j, cells_x, taps_x, cells_y, taps_y, TAPS: tl.constexpr):
    """Where the taps of cell (i, j) are in the raw image [BLOCK,TAPS], and which there are before the fold."""
    size_x, size_y = 1.0 / cells_x.to(tl.float32), 1.0 / cells_y.to(tl.float32)
    x, y, xc, yc, xr, yr, s, determinant = _linearise(
        camera, column + ((j + 0.5) * size_x - 0.5), row + ((i + 0.5) * size_y - 0.5)
    )
    valid = (s < tl.load(camera + 21)) & (determinant > 0) & (j < cells_x) & (i < cells_y)
    tap = tl.arange(0, TAPS)[None, :]
    nth_x, nth_y = tap % 8, tap // 8
    across = ((nth_x.to(tl.float32) + 0.5) / taps_x.to(tl.float32)[:, None] - 0.5) * size_x[:, None]
    down = ((nth_y.to(tl.float32) + 0.5) / taps_y.to(tl.float32)[:, None] - 0.5) * size_y[:, None]
    valid = valid[:, None] & (nth_x < taps_x[:, None]) & (nth_y < taps_y[:, None])
    at_x = x[:, None] + xc[:, None] * across + xr[:, None] * down
    return at_x, y[:, None] + yc[:, None] * across + yr[:, None] * down, valid


@triton.jit
def _neighbour(x, y, valid, height, width, K: tl.constexpr):
    """Column, row and weight of neighbour K of taps: right for K & 1, lower for K >> 1; weight 0 for one outside."""
    left, top = tl.floor(x), tl.floor(y)
    share_x = x - left if K % 2 == 1 else 1 - (x - left)
    share_y = y - top if K // 2 == 1 else 1 - (y - top)
    qx, qy = left + (K % 2), top + (K // 2)
    inside = valid & (qx >= 0) & (qx < width) & (qy >= 0) & (qy < height)
    weight = tl.where(inside, share_x * share_y, 0.0)
    return tl.where(inside, qx, 0.0).to(tl.int64), tl.where(inside, qy, 0.0).to(tl.int64), weight


@triton.jit
def _pixels(cameras_ptr, out_width, pixels, BLOCK: tl.constexpr):
    """The image of this program, its camera, and the places of its pixels: number, column, row, mask."""
    blocks = tl.cdiv(pixels, BLOCK)
    b = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    column, row = (pixel % out_width).to(tl.float32), (pixel // out_width).to(tl.float32)
    return b, cameras_ptr + 23 * b, pixel, column, row, pixel < pixels


@triton.jit
def _forward_kernel(
    image_ptr, cameras_ptr, fill_ptr, out_ptr, channels, height, width,
    stride_image, stride_channel, stride_row, stride_column, out_width, pixels,
    TAPS: tl.constexpr, BYTES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, camera, pixel, column, row, mask = _pixels(cameras_ptr, out_width, pixels, BLOCK)
    cells_x, taps_x, cells_y, taps_y = _plan(camera, column, row, height, width, TAPS)
    count = (cells_x * taps_x).to(tl.float32) * (cells_y * taps_y).to(tl.float32)
    most_x, most_y = tl.max(tl.where(mask, cells_x, 1), axis=0), tl.max(tl.where(mask, cells_y, 1), axis=0)
    for channel in range(channels):
        plane = image_ptr + b * stride_image + channel * stride_channel
        total, covered = tl.zeros((BLOCK,), dtype=tl.float32), tl.zeros((BLOCK,), dtype=tl.float32)
        for cell in range(most_x * most_y):
            i, j = cell // most_x, cell % most_x
            x, y, valid = _positions(camera, column, row, i, j, cells_x, taps_x, cells_y, taps_y, TAPS)
            for k in tl.static_range(4):
                qx, qy, weight = _neighbour(x, y, valid & mask[:, None], height, width, k)
                has = weight != 0
                value = tl.load(plane + qy * stride_row + qx * stride_column, mask=has, other=0)
                total += tl.sum(tl.where(has, weight * value.to(tl.float32), 0.0), axis=1)
                covered += tl.sum(weight, axis=1)
        result = (total + (count - covered) * tl.load(fill_ptr + channel)) / count
        if BYTES:
            result = tl.minimum(tl.maximum(result + 0.5, 0.0), 255.0).to(tl.uint8)
        tl.store(out_ptr + (b * channels + channel) * pixels + pixel, result, mask=mask)


@triton.jit
def _scatter_kernel(
    grad_ptr, cameras_ptr, scale_ptr, sums_ptr, channels, height, width, out_width, pixels,
    TAPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b, camera, pixel, column, row, mask = _pixels(cameras_ptr, out_width, pixels, BLOCK)
    cells_x, taps_x, cells_y, taps_y = _plan(camera, column, row, height, width, TAPS)
    factor = tl.load(scale_ptr) / ((cells_x * taps_x).to(tl.float64) * (cells_y * taps_y).to(tl.float64))
    most_x, most_y = tl.max(tl.where(mask, cells_x, 1), axis=0), tl.max(tl.where(mask, cells_y, 1), axis=0)
    for cell in range(most_x * most_y):
        i, j = cell // most_x, cell % most_x
        x, y, valid = _positions(camera, column, row, i, j, cells_x, taps_x, cells_y, taps_y, TAPS)
        for channel in range(channels):
            at = b * channels + channel
            grad = tl.load(grad_ptr + at * pixels + pixel, mask=mask, other=0.0).to(tl.float64) * factor
            plane = sums_ptr + at * height * width
            for k in tl.static_range(4):
                qx, qy, weight = _neighbour(x, y, valid & mask[:, None], height, width, k)
                part = tl.floor(grad[:, None] * weight + 0.5).to(tl.int64)
                tl.atomic_add(plane + qy * width + qx, part, mask=weight != 0, sem="relaxed")
