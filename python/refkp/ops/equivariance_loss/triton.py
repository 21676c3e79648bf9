"""equivariance_loss in Triton: float32 arithmetic over float32, float16 or bfloat16 storage.

Forward: a program a block of pixels of one item, taps shared by all channels; block sums are added up in order.
Backward: one kernel writes the gradient of A and that of B', which the gather of affine_warp takes to A'.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from refkp.ops._theta import pixel_map
from refkp.ops.affine_warp.arguments import WarpGradient
from refkp.ops.affine_warp.triton import backward as affine_warp_backward
from refkp.ops.affine_warp.triton import item_and_pixels, sample, taps

_BLOCK = 256


def forward(maps: Tensor, maps_warped: Tensor, theta: Tensor, coverage: bool) -> tuple[Tensor, Tensor]:
    batch, channels, height, width = maps.shape
    blocks = triton.cdiv(height * width, _BLOCK)
    partial = torch.zeros(batch, blocks, 2, dtype=torch.float32, device=maps.device)
    if batch:
        map_ = pixel_map(theta, True, (height, width), (height, width))
        _forward_kernel[(batch * blocks,)](
            maps, maps_warped, map_, partial, channels, height, width, COVERAGE=coverage, BLOCK=_BLOCK
        )
    squares, covered = partial.double().sum(1).unbind(-1)
    denominator = covered * channels
    return torch.where(denominator == 0, 0.0, squares / denominator), denominator


def backward(
    grad_item: Tensor, maps: Tensor, maps_warped: Tensor, theta: Tensor, coverage: bool
) -> tuple[Tensor, Tensor]:
    batch, channels, height, width = maps.shape
    grad_maps, grad_returned = torch.zeros_like(maps), torch.zeros_like(maps)
    if maps.numel():
        map_ = pixel_map(theta, True, (height, width), (height, width))
        _backward_kernel[(batch * triton.cdiv(height * width, _BLOCK),)](
            maps,
            maps_warped,
            map_,
            grad_item.float(),
            grad_maps,
            grad_returned,
            channels,
            height,
            width,
            COVERAGE=coverage,
            BLOCK=_BLOCK,
        )
    gradient = WarpGradient(grad_returned, maps_warped, theta, True, (), needs_image=True, needs_theta=False)
    grad_maps_warped, _ = affine_warp_backward(gradient)
    return grad_maps, grad_maps_warped


@triton.jit
def _weight(finite, x, y, wx, wy, height, width, COVERAGE: tl.constexpr):
    """1, or with COVERAGE the share of a pixel's taps inside the frame; NaN where the position is not finite."""
    weight = tl.where(finite, 1.0, float("nan"))
    if COVERAGE:
        across = tl.where((x >= 0) & (x < width), 1 - wx, 0.0)
        across += tl.where((x >= -1) & (x < width - 1), wx, 0.0)
        down = tl.where((y >= 0) & (y < height), 1 - wy, 0.0)
        down += tl.where((y >= -1) & (y < height - 1), wy, 0.0)
        weight *= across * down
    return weight


@triton.jit
def _residual(maps_ptr, warped_ptr, first, p, mask, weight, x, y, wx, wy, height, width):
    """weight A - B' at the pixels p of the map that starts at element `first`."""
    value = tl.load(maps_ptr + first + p, mask=mask, other=0.0).to(tl.float32)
    return weight * value - sample(warped_ptr + first, x, y, wx, wy, height, width, mask, 0.0)


@triton.jit
def _forward_kernel(
    maps_ptr,
    warped_ptr,
    map_ptr,
    partial_ptr,
    channels,
    height,
    width,
    COVERAGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, p = item_and_pixels(height * width, BLOCK)
    mask = p < height * width
    x, y, wx, wy, finite = taps(map_ptr, b, p // width, p % width, height, width)
    weight = _weight(finite, x, y, wx, wy, height, width, COVERAGE)
    squares = tl.zeros([BLOCK], dtype=tl.float32)
    for k in range(channels):
        first = (b * channels + k) * height * width
        r = _residual(maps_ptr, warped_ptr, first, p, mask, weight, x, y, wx, wy, height, width)
        squares += tl.where(mask, r * r, 0.0)
    at = partial_ptr + tl.program_id(0).to(tl.int64) * 2
    tl.store(at, tl.sum(squares))
    tl.store(at + 1, tl.sum(tl.where(mask, weight, 0.0)))


@triton.jit
def _backward_kernel(
    maps_ptr,
    warped_ptr,
    map_ptr,
    grad_item_ptr,
    grad_maps_ptr,
    grad_returned_ptr,
    channels,
    height,
    width,
    COVERAGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    b, p = item_and_pixels(height * width, BLOCK)
    mask = p < height * width
    x, y, wx, wy, finite = taps(map_ptr, b, p // width, p % width, height, width)
    weight = _weight(finite, x, y, wx, wy, height, width, COVERAGE)
    scale = tl.load(grad_item_ptr + b)
    for k in range(channels):
        first = (b * channels + k) * height * width
        r = scale * _residual(maps_ptr, warped_ptr, first, p, mask, weight, x, y, wx, wy, height, width)
        tl.store(grad_maps_ptr + first + p, weight * r, mask=mask)
        tl.store(grad_returned_ptr + first + p, -r, mask=mask)
