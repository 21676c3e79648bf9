"""affine_warp in Triton: float32 arithmetic over float32, float16 or bfloat16 storage.

The same division of work as csrc/warp/affine_warp_cuda.cu: forward a lane an output pixel, backward of the image a
gather with a lane an input pixel, backward of theta block sums added up in order. The pixel map is formed by torch in
float64 before the launch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from refkp.ops._theta import pixel_map, pixel_map_backward
from refkp.ops.affine_warp.arguments import WarpGradient

_BLOCK = 256


def forward(
    image: Tensor, theta: Tensor, size: Sequence[int], inverse: bool, fill: Sequence[float]
) -> Tensor:
    batch, channels, in_height, in_width = image.shape
    out = image.new_empty(batch, channels, *size)
    if out.numel() == 0:
        return out
    pixels = size[0] * size[1]
    _forward_kernel[(batch * triton.cdiv(pixels, _BLOCK),)](
        image,
        pixel_map(theta, inverse, (in_height, in_width), size),
        _fill_tensor(fill, image),
        out,
        channels,
        in_height,
        in_width,
        size[1],
        pixels,
        BLOCK=_BLOCK,
    )
    return out


def backward(gradient: WarpGradient) -> tuple[Tensor, Tensor]:
    grad_out, image, theta, inverse, fill, needs_image, needs_theta = gradient
    batch, channels, in_height, in_width = image.shape
    size = grad_out.shape[2:]
    grad_image = torch.zeros_like(image) if needs_image else image.new_empty(0)
    grad_theta = torch.zeros_like(theta) if needs_theta else theta.new_empty(0)
    if image.numel() == 0:
        return grad_image, grad_theta
    map_ = pixel_map(theta, inverse, (in_height, in_width), size)
    in_pixels, pixels = in_height * in_width, size[0] * size[1]
    if needs_image:
        _backward_image_kernel[(batch * triton.cdiv(in_pixels, _BLOCK),)](
            grad_out, map_, grad_image, channels, in_width, in_pixels, *size, BLOCK=_BLOCK
        )
    if needs_theta:
        blocks = triton.cdiv(pixels, _BLOCK)
        partial = torch.empty(batch, blocks, 6, dtype=torch.float32, device=image.device)
        _backward_map_kernel[(batch * blocks,)](
            grad_out,
            image,
            map_,
            _fill_tensor(fill, image),
            partial,
            channels,
            in_height,
            in_width,
            size[1],
            pixels,
            BLOCK=_BLOCK,
        )
        grad_map = partial.double().sum(1).view(batch, 2, 3)
        grad_theta = pixel_map_backward(theta, inverse, (in_height, in_width), size, grad_map)
    return grad_image, grad_theta


def _fill_tensor(fill: Sequence[float], image: Tensor) -> Tensor:
    return torch.tensor(fill or [0.0] * image.shape[1], dtype=torch.float32, device=image.device)


@triton.jit
def item_and_pixels(pixels, BLOCK: tl.constexpr):
    """The item of a program and its pixels. The grid is flat: its other axes end at 65535."""
    blocks = tl.cdiv(pixels, BLOCK)
    item = (tl.program_id(0) // blocks).to(tl.int64)
    return item, (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)


@triton.jit
def _position(map_ptr, b, i, j):
    """(px, py) in float64 of output pixels (i, j); both passes evaluate it alike."""
    i, j = i.to(tl.float64), j.to(tl.float64)
    px = tl.load(map_ptr + 6 * b) * j + (tl.load(map_ptr + 6 * b + 1) * i + tl.load(map_ptr + 6 * b + 2))
    py = tl.load(map_ptr + 6 * b + 3) * j + (tl.load(map_ptr + 6 * b + 4) * i + tl.load(map_ptr + 6 * b + 5))
    return px, py


@triton.jit
def taps(map_ptr, b, i, j, in_height, in_width):
    """Upper left tap and weights of output pixels (i, j), and whether their position is finite."""
    px, py = _position(map_ptr, b, i, j)
    finite = (px - px == 0) & (py - py == 0)
    px = tl.minimum(tl.maximum(tl.where(finite, px, -2.0), -2.0), in_width + 1.0)
    py = tl.minimum(tl.maximum(tl.where(finite, py, -2.0), -2.0), in_height + 1.0)
    floor_x, floor_y = tl.floor(px), tl.floor(py)
    wx, wy = (px - floor_x).to(tl.float32), (py - floor_y).to(tl.float32)
    return floor_x.to(tl.int32), floor_y.to(tl.int32), wx, wy, finite


@triton.jit
def _tap(plane_ptr, x, y, in_height, in_width, mask, outside):
    """The value at (x, y), `outside` where that is not in the image."""
    inside = (x >= 0) & (x < in_width) & (y >= 0) & (y < in_height) & mask
    value = tl.load(plane_ptr + y * in_width + x, mask=inside, other=0.0).to(tl.float32)
    return tl.where(inside, value, outside)


@triton.jit
def _square(plane_ptr, x, y, in_height, in_width, mask, outside):
    """The four values whose upper left is at (x, y): upper left and right, lower left and right."""
    upper_left = _tap(plane_ptr, x, y, in_height, in_width, mask, outside)
    upper_right = _tap(plane_ptr, x + 1, y, in_height, in_width, mask, outside)
    lower_left = _tap(plane_ptr, x, y + 1, in_height, in_width, mask, outside)
    lower_right = _tap(plane_ptr, x + 1, y + 1, in_height, in_width, mask, outside)
    return upper_left, upper_right, lower_left, lower_right


@triton.jit
def weighted_sum(a, b, c, d, wx, wy):
    """The bilinear value of a square by its definition: a tap without weight does not count, be it NaN."""
    value = tl.where((1 - wx) * (1 - wy) != 0, (1 - wx) * (1 - wy) * a, 0.0)
    value += tl.where(wx * (1 - wy) != 0, wx * (1 - wy) * b, 0.0)
    value += tl.where((1 - wx) * wy != 0, (1 - wx) * wy * c, 0.0)
    return value + tl.where(wx * wy != 0, wx * wy * d, 0.0)


@triton.jit
def sample(plane_ptr, x, y, wx, wy, in_height, in_width, mask, outside):
    """The bilinear value at (x + wx, y + wy), the image going on as `outside`.

    By differences, but where that is not finite: there it would spread to pixels that do not read what is not.
    """
    a, b, c, d = _square(plane_ptr, x, y, in_height, in_width, mask, outside)
    upper, lower = a + wx * (b - a), c + wx * (d - c)
    value = upper + wy * (lower - upper)
    return tl.where(value - value == 0, value, weighted_sum(a, b, c, d, wx, wy))


@triton.jit
def _forward_kernel(
    image_ptr,
    map_ptr,
    fill_ptr,
    out_ptr,
    channels,
    in_height,
    in_width,
    out_width,
    pixels,
    BLOCK: tl.constexpr,
):
    b, p = item_and_pixels(pixels, BLOCK)
    mask = p < pixels
    x, y, wx, wy, finite = taps(map_ptr, b, p // out_width, p % out_width, in_height, in_width)
    for c in range(channels):
        plane = image_ptr + (b * channels + c) * in_height * in_width
        value = sample(plane, x, y, wx, wy, in_height, in_width, mask, tl.load(fill_ptr + c))
        value = tl.where(finite, value, float("nan"))
        tl.store(out_ptr + (b * channels + c) * pixels + p, value, mask=mask)


@triton.jit
def _readers(map_ptr, b, qx, qy, out_height, out_width):
    """First row and column, rows and columns of a box of output pixels that holds all who read input pixels q.

    They lie in the image of [qx-1,qx+1] x [qy-1,qy+1] under the inverse map. Last: whether the box is finite.
    """
    m00, m01, c0 = tl.load(map_ptr + 6 * b), tl.load(map_ptr + 6 * b + 1), tl.load(map_ptr + 6 * b + 2)
    m10, m11, c1 = tl.load(map_ptr + 6 * b + 3), tl.load(map_ptr + 6 * b + 4), tl.load(map_ptr + 6 * b + 5)
    det = m00 * m11 - m01 * m10
    reach_j = (tl.abs(m11) + tl.abs(m01)) / tl.abs(det) + 0.01
    reach_i = (tl.abs(m10) + tl.abs(m00)) / tl.abs(det) + 0.01
    finite = (reach_j - reach_j == 0) & (reach_i - reach_i == 0) & (c0 - c0 == 0) & (c1 - c1 == 0)
    first_j = tl.ceil((m11 * (qx - c0) - m01 * (qy - c1)) / det - reach_j)
    first_i = tl.ceil((m00 * (qy - c1) - m10 * (qx - c0)) / det - reach_i)
    columns = tl.where(finite, tl.minimum(2 * reach_j + 1, out_width + 1.0), 0.0).to(tl.int32)
    rows = tl.where(finite, tl.minimum(2 * reach_i + 1, out_height + 1.0), 0.0).to(tl.int32)
    return tl.maximum(first_i, -1.0), tl.maximum(first_j, -1.0), rows, columns, finite


@triton.jit
def _backward_image_kernel(
    grad_out_ptr,
    map_ptr,
    grad_image_ptr,
    channels,
    in_width,
    in_pixels,
    out_height,
    out_width,
    BLOCK: tl.constexpr,
):
    b, q = item_and_pixels(in_pixels, BLOCK)
    mask = q < in_pixels
    qx, qy = (q % in_width).to(tl.float64), (q // in_width).to(tl.float64)
    first_i, first_j, rows, columns, finite = _readers(map_ptr, b, qx, qy, out_height, out_width)
    for c in range(channels):
        grad_plane = grad_out_ptr + (b * channels + c) * out_height * out_width
        total = tl.zeros([BLOCK], dtype=tl.float32)
        for row in range(rows + 1):
            for column in range(columns + 1):
                i, j = first_i + row, first_j + column
                px, py = _position(map_ptr, b, i, j)
                weight = tl.maximum(1 - tl.abs(px - qx), 0.0) * tl.maximum(1 - tl.abs(py - qy), 0.0)
                use = mask & (weight > 0) & (i >= 0) & (i < out_height) & (j >= 0) & (j < out_width)
                p = i.to(tl.int32) * out_width + j.to(tl.int32)
                grad = tl.load(grad_plane + p, mask=use, other=0.0).to(tl.float32)
                total += tl.where(use, weight.to(tl.float32) * grad, 0.0)
        value = tl.where(finite, total, float("nan"))
        tl.store(grad_image_ptr + (b * channels + c) * in_pixels + q, value, mask=mask)


@triton.jit
def _backward_map_kernel(
    grad_out_ptr,
    image_ptr,
    map_ptr,
    fill_ptr,
    partial_ptr,
    channels,
    in_height,
    in_width,
    out_width,
    pixels,
    BLOCK: tl.constexpr,
):
    b, p = item_and_pixels(pixels, BLOCK)
    mask = p < pixels
    i, j = p // out_width, p % out_width
    x, y, wx, wy, finite = taps(map_ptr, b, i, j, in_height, in_width)
    grad_x = tl.zeros([BLOCK], dtype=tl.float32)
    grad_y = tl.zeros([BLOCK], dtype=tl.float32)
    for c in range(channels):
        plane = image_ptr + (b * channels + c) * in_height * in_width
        fill = tl.load(fill_ptr + c)
        upper_left, upper_right, lower_left, lower_right = _square(
            plane, x, y, in_height, in_width, mask, fill
        )
        grad = tl.load(grad_out_ptr + (b * channels + c) * pixels + p, mask=mask, other=0.0).to(tl.float32)
        grad_x += grad * ((1 - wy) * (upper_right - upper_left) + wy * (lower_right - lower_left))
        grad_y += grad * ((1 - wx) * (lower_left - upper_left) + wx * (lower_right - upper_right))
    grad_x = tl.where(finite, grad_x, float("nan"))
    grad_y = tl.where(finite, grad_y, float("nan"))
    at = partial_ptr + tl.program_id(0).to(tl.int64) * 6
    tl.store(at, tl.sum(tl.where(mask, grad_x * j, 0.0)))
    tl.store(at + 1, tl.sum(tl.where(mask, grad_x * i, 0.0)))
    tl.store(at + 2, tl.sum(tl.where(mask, grad_x, 0.0)))
    tl.store(at + 3, tl.sum(tl.where(mask, grad_y * j, 0.0)))
    tl.store(at + 4, tl.sum(tl.where(mask, grad_y * i, 0.0)))
    tl.store(at + 5, tl.sum(tl.where(mask, grad_y, 0.0)))
