"""e2p in Triton: float32 arithmetic over uint8, float32, float16 or bfloat16 storage.

The same division of work as csrc/warp/e2p_cuda.cu: a lane per tile pixel; backward scatters integers, whose
sum has no order. Positions are split into an exact anchor and a small rest as in csrc/warp/e2p_sphere.h.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from refkp.ops.e2p.camera import Cameras
from refkp.ops.e2p.fixed_point import gradient_scale

_BLOCK = 256


def forward(erp: Tensor, cameras: Cameras, size: tuple[int, int], equilib: bool, nearest: bool) -> Tensor:
    """Tiles [N,C,h,w] of images [B,C,H,W] of any strides."""
    num_tiles, num_channels = len(cameras.rays), erp.shape[1]
    dtype = erp.dtype if erp.is_floating_point() else torch.float32
    out = erp.new_empty((num_tiles, num_channels, *size), dtype=dtype)
    if out.numel() == 0:
        return out
    pixels = size[0] * size[1]
    _forward_kernel[(num_tiles * triton.cdiv(pixels, _BLOCK),)](
        erp, *_pointers(cameras), out, len(erp), num_channels, *erp.shape[2:], *erp.stride(), size[1], pixels,
        EQUILIB=equilib, NEAREST=nearest, BLOCK=_BLOCK,
    )  # fmt: skip
    return out


def backward(
    grad_out: Tensor, cameras: Cameras, erp_shape: tuple[int, int, int, int], equilib: bool, nearest: bool
) -> Tensor:
    """The gradient [B,C,H,W] of the images."""
    grad_out = grad_out.contiguous()
    grad_erp = grad_out.new_zeros(erp_shape)
    if grad_out.numel() == 0:
        return grad_erp
    sums = torch.zeros(erp_shape, dtype=torch.int64, device=grad_out.device)
    scale = gradient_scale(grad_out).reshape(1)
    num_tiles, num_channels, height, width = grad_out.shape
    pixels = height * width
    _scatter_kernel[(num_tiles * triton.cdiv(pixels, _BLOCK),)](
        grad_out, *_pointers(cameras), sums, scale, erp_shape[0], num_channels, *erp_shape[2:],
        *sums.stride(), width, pixels, EQUILIB=equilib, NEAREST=nearest, BLOCK=_BLOCK,
    )  # fmt: skip
    _finish_kernel[(triton.cdiv(sums.numel(), 4 * _BLOCK),)](
        sums, grad_erp, scale, sums.numel(), BLOCK=4 * _BLOCK
    )
    return grad_erp


def _pointers(cameras: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    return cameras.rays.to(torch.float32), cameras.samples, cameras.image_index


# ---- positions ----


@triton.jit
def _folded_angle(a, b):
    """atan of the smaller over the larger of two magnitudes."""
    q = tl.minimum(a, b) / tl.maximum(tl.maximum(a, b), 1e-30)
    u = q * q
    tail = -0.00175393012 * u + 0.0107269436
    tail = tail * u - 0.0308045968
    tail = tail * u + 0.057552103
    tail = tail * u - 0.0837731585
    tail = tail * u + 0.109420307
    tail = tail * u - 0.142619327
    tail = tail * u + 0.199982658
    tail = tail * u - 0.333332837
    return q + q * (u * tail)


@triton.jit
def _split(quarter_anchor, rest):
    """Floor and fraction of anchor / 4 + rest."""
    shifted = rest + 0.25 * (quarter_anchor & 3).to(tl.float32)
    below = tl.floor(shifted)
    return (quarter_anchor >> 2) + below.to(tl.int32), shifted - below


@triton.jit
def _wrap(column, width):
    column = tl.where(column < 0, column + width, column)
    return tl.where(column >= width, column - width, column)


@triton.jit
def _locate(x, y, z, erp_height, erp_width, EQUILIB: tl.constexpr):
    """Column in [0, W), row in [-1, H-1] and the fractions to the next ones."""
    shift = 2 if EQUILIB else -2
    sideways, backwards = tl.abs(x) > tl.abs(z), z < 0
    quarters = tl.where(sideways, 1, tl.where(backwards, 2, 0))
    across = _folded_angle(tl.abs(x), tl.abs(z)) * (erp_width / 6.283185307179586)
    mirrored = (sideways != backwards) != (x < 0)
    turn = 2 + tl.where(x < 0, -quarters, quarters)
    column, column_fraction = _split(turn * erp_width + shift, tl.where(mirrored, -across, across))
    level = tl.sqrt(x * x + z * z)
    steep = tl.abs(y) > level
    along = _folded_angle(tl.abs(y), level) * (erp_height / 3.141592653589793)
    pole = tl.where(steep, tl.where(y < 0, 4, 0), 2)
    row, row_fraction = _split(pole * erp_height + shift, tl.where(steep == (y < 0), -along, along))
    if EQUILIB:
        row_fraction = tl.where(row >= erp_height - 1, 0.0, row_fraction)
        row = tl.minimum(row, erp_height - 1)
    return _wrap(column, erp_width), row, column_fraction, row_fraction


@triton.jit
def _offset(row, column, erp_height, erp_width, stride_row, stride_column, EQUILIB: tl.constexpr):
    """Element offset of a pixel whose row may lie beyond an edge and whose column is in [0, W]."""
    column = _wrap(column, erp_width)
    if not EQUILIB:
        across = (row < 0) | (row >= erp_height)
        column = _wrap(tl.where(across, column + erp_width // 2, column), erp_width)
    row = tl.minimum(tl.maximum(row, 0), erp_height - 1)
    return row.to(tl.int64) * stride_row + column.to(tl.int64) * stride_column


@triton.jit
def _nearest(left, top, x, y, EQUILIB: tl.constexpr):
    """Row and column of the pixel nearest to a position."""
    return top + _rounds_up(y, top, EQUILIB), left + _rounds_up(x, left, EQUILIB)


@triton.jit
def _rounds_up(fraction, index, EQUILIB: tl.constexpr):
    """Whether the next pixel is the nearest: halves go up, or to even for equilib."""
    up = fraction > 0.5
    tie = fraction == 0.5
    if EQUILIB:
        tie = tie & ((index & 1) == 1)
    return (up | tie).to(tl.int32)


@triton.jit
def _sample_position(rays_ptr, tile, column, row, i, s, erp_height, erp_width, EQUILIB: tl.constexpr):
    """Position of sample i of s x s in pixels (column, row)."""
    c = column.to(tl.float32) + ((i % s).to(tl.float32) + 0.5) / s.to(tl.float32) - 0.5
    r = row.to(tl.float32) + ((i // s).to(tl.float32) + 0.5) / s.to(tl.float32) - 0.5
    m = rays_ptr + 9 * tile
    x = tl.load(m) * c + (tl.load(m + 1) * r + tl.load(m + 2))
    y = tl.load(m + 3) * c + (tl.load(m + 4) * r + tl.load(m + 5))
    z = tl.load(m + 6) * c + (tl.load(m + 7) * r + tl.load(m + 8))
    return _locate(x, y, z, erp_height, erp_width, EQUILIB)


@triton.jit
def _camera(rays_ptr, image_index_ptr, tile, num_images):
    """The image of a tile, 0 for one that is invalid; and whether it is valid."""
    image = tl.load(image_index_ptr + tile)
    lane = tl.arange(0, 16)
    rays = tl.load(rays_ptr + 9 * tile + lane, mask=lane < 9, other=0.0)
    broken = tl.sum((rays - rays != 0).to(tl.int32))
    valid = (broken == 0) & (image >= 0) & (image < num_images)
    return tl.where(valid, image, 0), valid


# ---- forward ----


@triton.jit
def _forward_kernel(
    erp_ptr, rays_ptr, samples_ptr, image_index_ptr, out_ptr, num_images, num_channels, erp_height, erp_width,
    stride_image, stride_channel, stride_row, stride_column, width, pixels,
    EQUILIB: tl.constexpr, NEAREST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(pixels, BLOCK)
    tile = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    column, row = pixel % width, pixel // width
    image, valid = _camera(rays_ptr, image_index_ptr, tile, num_images)
    s = tl.load(samples_ptr + tile).to(tl.int32)
    readable = pixel < tl.where(valid, pixels, 0)
    share = tl.where(valid, 1.0 / (s * s).to(tl.float32), float("nan"))
    plane = erp_ptr + image * stride_image
    for channel in range(num_channels):
        total = tl.zeros((BLOCK,), dtype=tl.float32)
        for i in range(s * s):
            left, top, x, y = _sample_position(
                rays_ptr, tile, column, row, i, s, erp_height, erp_width, EQUILIB
            )
            if NEAREST:
                row_at, column_at = _nearest(left, top, x, y, EQUILIB)
                total += _tap(
                    plane,
                    row_at,
                    column_at,
                    readable,
                    erp_height,
                    erp_width,
                    stride_row,
                    stride_column,
                    EQUILIB,
                )
            else:
                a = _tap(
                    plane, top, left, readable, erp_height, erp_width, stride_row, stride_column, EQUILIB
                )
                b = _tap(
                    plane, top, left + 1, readable, erp_height, erp_width, stride_row, stride_column, EQUILIB
                )
                c = _tap(
                    plane, top + 1, left, readable, erp_height, erp_width, stride_row, stride_column, EQUILIB
                )
                d = _tap(
                    plane,
                    top + 1,
                    left + 1,
                    readable,
                    erp_height,
                    erp_width,
                    stride_row,
                    stride_column,
                    EQUILIB,
                )
                above, below = a + x * (b - a), c + x * (d - c)
                total += above + y * (below - above)
        tl.store(out_ptr + (tile * num_channels + channel) * pixels + pixel, total * share, mask=inside)
        plane += stride_channel


@triton.jit
def _tap(plane, row, column, mask, erp_height, erp_width, stride_row, stride_column, EQUILIB: tl.constexpr):
    at = _offset(row, column, erp_height, erp_width, stride_row, stride_column, EQUILIB)
    return tl.load(plane + at, mask=mask, other=0.0).to(tl.float32)


# ---- backward ----


@triton.jit
def _scatter_kernel(
    grad_ptr, rays_ptr, samples_ptr, image_index_ptr, sums_ptr, scale_ptr, num_images, num_channels,
    erp_height, erp_width, stride_image, stride_channel, stride_row, stride_column, width, pixels,
    EQUILIB: tl.constexpr, NEAREST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(pixels, BLOCK)
    tile = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    column, row = pixel % width, pixel // width
    image, valid = _camera(rays_ptr, image_index_ptr, tile, num_images)
    mask = pixel < tl.where(valid, pixels, 0)
    s = tl.load(samples_ptr + tile).to(tl.int32)
    factor = tl.load(scale_ptr) / (s * s).to(tl.float64)
    for i in range(s * s):
        left, top, x, y = _sample_position(rays_ptr, tile, column, row, i, s, erp_height, erp_width, EQUILIB)
        plane = sums_ptr + image * stride_image
        for channel in range(num_channels):
            grad = tl.load(grad_ptr + (tile * num_channels + channel) * pixels + pixel, mask=mask, other=0.0)
            value = grad.to(tl.float64) * factor
            if NEAREST:
                row_at, column_at = _nearest(left, top, x, y, EQUILIB)
                _add(plane, row_at, column_at, value, mask, erp_height, erp_width, stride_row,
                     stride_column, EQUILIB)  # fmt: skip
            else:
                _add(plane, top, left, value * ((1 - y) * (1 - x)), mask, erp_height, erp_width, stride_row,
                     stride_column, EQUILIB)  # fmt: skip
                _add(plane, top, left + 1, value * ((1 - y) * x), mask, erp_height, erp_width, stride_row,
                     stride_column, EQUILIB)  # fmt: skip
                _add(plane, top + 1, left, value * (y * (1 - x)), mask, erp_height, erp_width, stride_row,
                     stride_column, EQUILIB)  # fmt: skip
                _add(plane, top + 1, left + 1, value * (y * x), mask, erp_height, erp_width, stride_row,
                     stride_column, EQUILIB)  # fmt: skip
            plane += stride_channel


@triton.jit
def _add(
    plane, row, column, value, mask, erp_height, erp_width, stride_row, stride_column, EQUILIB: tl.constexpr
):
    at = _offset(row, column, erp_height, erp_width, stride_row, stride_column, EQUILIB)
    tl.atomic_add(plane + at, tl.floor(value + 0.5).to(tl.int64), mask=mask, sem="relaxed")


@triton.jit
def _finish_kernel(sums_ptr, grad_ptr, scale_ptr, count, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(sums_ptr + index, mask=index < count, other=0).to(tl.float64)
    tl.store(grad_ptr + index, (total / tl.load(scale_ptr)).to(tl.float32), mask=index < count)
