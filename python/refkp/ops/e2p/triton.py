"""e2p in Triton: float32 arithmetic over uint8, float32, float16 or bfloat16 storage.

The same division of work as csrc/warp/e2p_cuda.cu: a lane per tile pixel; backward scatters integers, whose
sum has no order. Positions are split into an exact anchor and a small rest as in csrc/warp/e2p_sphere.h.
Lanes may lie between different levels of the pyramid, so all levels are gone through, each with a mask of the
lanes that have a share in it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from refkp.ops._fixed_point import gradient_scale
from refkp.ops.affine_warp.triton import weighted_sum
from refkp.ops.e2p.camera import Cameras, pyramid_elements

_BLOCK = 256


def forward(erp: Tensor, cameras: Cameras, size: tuple[int, int], equilib: bool, nearest: bool) -> Tensor:
    """Tiles [N,C,h,w] of images [B,C,H,W] of any strides."""
    num_tiles, num_channels = len(cameras.rays), erp.shape[1]
    dtype = erp.dtype if erp.is_floating_point() else torch.float32
    out = erp.new_empty((num_tiles, num_channels, *size), dtype=dtype)
    if out.numel() == 0:
        return out
    pixels, levels = size[0] * size[1], cameras.num_levels
    _forward_kernel[(num_tiles * triton.cdiv(pixels, _BLOCK),)](
        erp, _pyramid(erp, levels), *_pointers(cameras), out, len(erp), num_channels, *erp.shape[2:],
        *erp.stride(), *cameras.centre, size[1], pixels, LEVELS=levels, EQUILIB=equilib, NEAREST=nearest, BLOCK=_BLOCK,
    )  # fmt: skip
    return out


def _pyramid(erp: Tensor, num_levels: int) -> Tensor:
    """Levels 1 to `num_levels` of images [B,C,H,W], one after the other; float32."""
    pyramid = erp.new_empty(pyramid_elements(erp.shape, num_levels), dtype=torch.float32)
    sizes = [
        pyramid_elements(erp.shape, k) - pyramid_elements(erp.shape, k - 1) for k in range(1, num_levels + 1)
    ]
    fine = erp
    for k, part in enumerate(pyramid.split(sizes), start=1):
        coarse = part.view(*erp.shape[:2], erp.shape[2] >> k, erp.shape[3] >> k)
        _halve_kernel[(triton.cdiv(part.numel(), 4 * _BLOCK),)](
            fine, coarse, *coarse.shape[1:], *fine.stride(), part.numel(), BLOCK=4 * _BLOCK
        )
        fine = coarse
    return pyramid


def backward(
    grad_out: Tensor, cameras: Cameras, erp_shape: tuple[int, int, int, int], equilib: bool, nearest: bool
) -> Tensor:
    """The gradient [B,C,H,W] of the images."""
    grad_out = grad_out.contiguous()
    grad_erp = grad_out.new_zeros(erp_shape)
    if grad_out.numel() == 0:
        return grad_erp
    levels = cameras.num_levels
    elements = grad_erp.numel() + pyramid_elements(erp_shape, levels)
    sums = torch.zeros(elements, dtype=torch.int64, device=grad_out.device)
    scale = gradient_scale(grad_out).reshape(1)
    num_tiles, num_channels, height, width = grad_out.shape
    pixels = height * width
    _scatter_kernel[(num_tiles * triton.cdiv(pixels, _BLOCK),)](
        grad_out, *_pointers(cameras), sums, scale, erp_shape[0], num_channels, *erp_shape[2:], *cameras.centre,
        width, pixels,
        LEVELS=levels, EQUILIB=equilib, NEAREST=nearest, BLOCK=_BLOCK,
    )  # fmt: skip
    _finish_kernel[(triton.cdiv(grad_erp.numel(), 4 * _BLOCK),)](
        sums, grad_erp, scale, erp_shape[0] * erp_shape[1], *erp_shape[2:], LEVELS=levels, BLOCK=4 * _BLOCK
    )
    return grad_erp


def _pointers(cameras: Cameras) -> tuple[Tensor, ...]:
    rays, grid = cameras.rays.to(torch.float32), cameras.grid.to(torch.float32)
    return rays, grid, cameras.samples, cameras.image_index


# ---- positions and levels ----


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
    level = tl.sqrt(x * x + z * z)
    at_pole = level <= 1e-6 * tl.abs(y)  # its longitude is nothing but rounding: 0
    sideways, backwards = (tl.abs(x) > tl.abs(z)) & ~at_pole, (z < 0) & ~at_pole
    quarters = tl.where(sideways, 1, tl.where(backwards, 2, 0))
    across = tl.where(at_pole, 0.0, _folded_angle(tl.abs(x), tl.abs(z)) * (erp_width / 6.283185307179586))
    mirrored = (sideways != backwards) != (x < 0)
    turn = 2 + tl.where(x < 0, -quarters, quarters)
    column, column_fraction = _split(turn * erp_width + shift, tl.where(mirrored, -across, across))
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
def _sample_place(column, row, i, s):
    """Column and row of sample i of s x s in pixels (column, row)."""
    c = column.to(tl.float32) + ((i % s).to(tl.float32) + 0.5) / s.to(tl.float32) - 0.5
    r = row.to(tl.float32) + ((i // s).to(tl.float32) + 0.5) / s.to(tl.float32) - 0.5
    return c, r


@triton.jit
def _sample_position(rays_ptr, tile, c, r, erp_height, erp_width, EQUILIB: tl.constexpr):
    """Position of the sample at place (c, r) of a tile, counted from its centre."""
    m = rays_ptr + 9 * tile
    x = tl.load(m) * c + (tl.load(m + 1) * r + tl.load(m + 2))
    y = tl.load(m + 3) * c + (tl.load(m + 4) * r + tl.load(m + 5))
    z = tl.load(m + 6) * c + (tl.load(m + 7) * r + tl.load(m + 8))
    return _locate(x, y, z, erp_height, erp_width, EQUILIB)


@triton.jit
def _sample_level(grid_ptr, tile, c, r, s, erp_height, erp_width, LEVELS: tl.constexpr):
    """The level of the sample at place (c, r) in a pyramid of LEVELS levels beyond the image."""
    if LEVELS == 0:
        return c * 0
    grid = grid_ptr + 4 * tile
    step_x, step_y = tl.load(grid), tl.load(grid + 2)
    t, u = tl.load(grid + 1) + step_x * c, tl.load(grid + 3) + step_y * r
    across, down = 1 + u * u, 1 + t * t
    reach = across + t * t
    scale = tl.maximum(erp_width / 6.283185307179586, erp_height / 3.141592653589793) / s.to(tl.float32)
    side = tl.maximum(step_x * step_x * across, step_y * step_y * down) / (reach * reach) * scale * scale
    return tl.minimum(tl.maximum(0.5 * tl.log2(0.5 * side), 0.0), LEVELS)


@triton.jit
def _level_share(level, k):
    """What level k has of samples: the closer of two levels counts more."""
    return tl.maximum(1.0 - tl.abs(level - k), 0.0)


@triton.jit
def _coarsen(left, top, x, y, k: tl.constexpr, width):
    """A position in level k, `width` columns wide; the same for level 0."""
    left, x = _shrink(left, x, k)
    top, y = _shrink(top, y, k)
    return tl.where(left < 0, left + width, left), top, x, y


@triton.jit
def _shrink(index, fraction, k: tl.constexpr):
    """(index + fraction + 1/2) / 2^k - 1/2 in whole and fraction."""
    up = (2 * fraction >= 1).to(tl.int32)
    shifted = 2 * index + up + 1 - (1 << k)
    rest = (shifted & ((2 << k) - 1)).to(tl.float32) + (2 * fraction - up)
    return shifted >> (k + 1), rest / (2 << k)


@triton.jit
def _camera(rays_ptr, image_index_ptr, tile, num_images):
    """The image of a tile, 0 for one that is invalid; and whether it is valid."""
    image = tl.load(image_index_ptr + tile)
    lane = tl.arange(0, 16)
    rays = tl.load(rays_ptr + 9 * tile + lane, mask=lane < 9, other=0.0)
    broken = tl.sum((rays - rays != 0).to(tl.int32))
    valid = (broken == 0) & (image >= 0) & (image < num_images)
    return tl.where(valid, image, 0), valid


# ---- pyramid ----


@triton.jit
def _halve_kernel(
    from_ptr, to_ptr, num_channels, height, width, stride_image, stride_channel, stride_row, stride_column, count,
    BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = index < count
    column, row = index % width, index // width % height
    plane = index // (width * height)
    above = from_ptr + plane // num_channels * stride_image + plane % num_channels * stride_channel
    above += 2 * row * stride_row + 2 * column * stride_column
    total = _load(above, mask) + _load(above + stride_column, mask)
    total += _load(above + stride_row, mask) + _load(above + stride_row + stride_column, mask)
    tl.store(to_ptr + index, 0.25 * total, mask=mask)


@triton.jit
def _load(pointers, mask):
    return tl.load(pointers, mask=mask, other=0.0).to(tl.float32)


# ---- forward ----


@triton.jit
def _forward_kernel(
    erp_ptr, pyramid_ptr, rays_ptr, grid_ptr, samples_ptr, image_index_ptr, out_ptr, num_images, num_channels,
    erp_height, erp_width, stride_image, stride_channel, stride_row, stride_column, centre_column, centre_row, width,
    pixels,
    LEVELS: tl.constexpr, EQUILIB: tl.constexpr, NEAREST: tl.constexpr, BLOCK: tl.constexpr,
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
    for channel in range(num_channels):
        total = tl.zeros((BLOCK,), dtype=tl.float32)
        for i in range(s * s):
            c, r = _sample_place(column, row, i, s)
            left, top, x, y = _sample_position(
                rays_ptr, tile, c - centre_column, r - centre_row, erp_height, erp_width, EQUILIB
            )
            level = _sample_level(grid_ptr, tile, c, r, s, erp_height, erp_width, LEVELS)
            part = _level_share(level, 0)
            plane = erp_ptr + image * stride_image + channel * stride_channel
            total += part * _sample(plane, left, top, x, y, readable & (part > 0), erp_height, erp_width,
                                    stride_row, stride_column, EQUILIB, NEAREST)  # fmt: skip
            coarse = pyramid_ptr
            for k in tl.static_range(1, LEVELS + 1):
                rows, columns = erp_height >> k, erp_width >> k
                elements = tl.cast(rows, tl.int64) * columns
                part = _level_share(level, k)
                left_k, top_k, x_k, y_k = _coarsen(left, top, x, y, k, columns)
                plane_k = coarse + (image * num_channels + channel) * elements
                total += part * _sample(plane_k, left_k, top_k, x_k, y_k, readable & (part > 0), rows, columns,
                                        columns, 1, EQUILIB, NEAREST)  # fmt: skip
                coarse += num_images * num_channels * elements
        tl.store(out_ptr + (tile * num_channels + channel) * pixels + pixel, total * share, mask=inside)


@triton.jit
def _sample(
    plane, left, top, x, y, mask, height, width, stride_row, stride_column,
    EQUILIB: tl.constexpr, NEAREST: tl.constexpr,
):  # fmt: skip
    """The value at a position. Differences keep a constant image constant; else the taps with a weight count."""
    if NEAREST:
        row, column = _nearest(left, top, x, y, EQUILIB)
        return _load(plane + _offset(row, column, height, width, stride_row, stride_column, EQUILIB), mask)
    a = _load(plane + _offset(top, left, height, width, stride_row, stride_column, EQUILIB), mask)
    b = _load(plane + _offset(top, left + 1, height, width, stride_row, stride_column, EQUILIB), mask)
    c = _load(plane + _offset(top + 1, left, height, width, stride_row, stride_column, EQUILIB), mask)
    d = _load(plane + _offset(top + 1, left + 1, height, width, stride_row, stride_column, EQUILIB), mask)
    above, below = a + x * (b - a), c + x * (d - c)
    value = above + y * (below - above)
    return tl.where(value - value == 0, value, weighted_sum(a, b, c, d, x, y))


# ---- backward ----


@triton.jit
def _scatter_kernel(
    grad_ptr, rays_ptr, grid_ptr, samples_ptr, image_index_ptr, sums_ptr, scale_ptr, num_images, num_channels,
    erp_height, erp_width, centre_column, centre_row, width, pixels,
    LEVELS: tl.constexpr, EQUILIB: tl.constexpr, NEAREST: tl.constexpr, BLOCK: tl.constexpr,
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
        c, r = _sample_place(column, row, i, s)
        left, top, x, y = _sample_position(
            rays_ptr, tile, c - centre_column, r - centre_row, erp_height, erp_width, EQUILIB
        )
        level = _sample_level(grid_ptr, tile, c, r, s, erp_height, erp_width, LEVELS)
        sums = sums_ptr
        for k in tl.static_range(LEVELS + 1):
            rows, columns = erp_height >> k, erp_width >> k
            elements = tl.cast(rows, tl.int64) * columns
            part = _level_share(level, k)
            left_k, top_k, x_k, y_k = _coarsen(left, top, x, y, k, columns)
            for channel in range(num_channels):
                grad = tl.load(
                    grad_ptr + (tile * num_channels + channel) * pixels + pixel, mask=mask, other=0.0
                )
                value = grad.to(tl.float64) * factor * part
                plane = sums + (image * num_channels + channel) * elements
                _scatter(
                    plane, left_k, top_k, x_k, y_k, value, mask & (part > 0), rows, columns, EQUILIB, NEAREST
                )
            sums += num_images * num_channels * elements


@triton.jit
def _scatter(
    plane, left, top, x, y, value, mask, height, width, EQUILIB: tl.constexpr, NEAREST: tl.constexpr
):
    if NEAREST:
        row, column = _nearest(left, top, x, y, EQUILIB)
        _add(plane, row, column, value, mask, height, width, EQUILIB)
    else:
        _add(plane, top, left, value * ((1 - y) * (1 - x)), mask, height, width, EQUILIB)
        _add(plane, top, left + 1, value * ((1 - y) * x), mask, height, width, EQUILIB)
        _add(plane, top + 1, left, value * (y * (1 - x)), mask, height, width, EQUILIB)
        _add(plane, top + 1, left + 1, value * (y * x), mask, height, width, EQUILIB)


@triton.jit
def _add(plane, row, column, value, mask, height, width, EQUILIB: tl.constexpr):
    at = _offset(row, column, height, width, width, 1, EQUILIB)
    tl.atomic_add(plane + at, tl.floor(value + 0.5).to(tl.int64), mask=mask, sem="relaxed")


@triton.jit
def _finish_kernel(
    sums_ptr, grad_ptr, scale_ptr, planes, height, width, LEVELS: tl.constexpr, BLOCK: tl.constexpr
):
    """A pixel collects a quarter of each pixel above it, level by level."""
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = index < tl.cast(planes, tl.int64) * height * width
    column, row, plane = index % width, index // width % height, index // width // height
    total = tl.zeros((BLOCK,), dtype=tl.float64)
    share = 1.0
    sums = sums_ptr
    for k in tl.static_range(LEVELS + 1):
        rows, columns = height >> k, width >> k
        at = (plane * rows + (row >> k)) * columns + (column >> k)
        total += tl.load(sums + at, mask=mask, other=0).to(tl.float64) * share
        sums += tl.cast(planes, tl.int64) * rows * columns
        share *= 0.25
    tl.store(grad_ptr + index, (total / tl.load(scale_ptr)).to(tl.float32), mask=mask)
