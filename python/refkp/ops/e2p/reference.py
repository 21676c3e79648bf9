"""e2p in slow and obvious torch: float64, one tile after the other, differentiable in image and rotation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from refkp.ops._taps import weighted
from refkp.ops.e2p.camera import (
    erp_span,
    level_count,
    pixel_centre,
    pixel_grid,
    pixels_per_radian,
    sample_count,
)
from refkp.ops.e2p.checks import check_values

#: A direction this close to a pole, in radians, has longitude 0: its own is nothing but rounding.
_POLE_RADIUS = 1e-14


def e2p(
    erp: Tensor,
    rotation: Tensor,
    image_index: Tensor,
    tangents_x: Sequence[float],
    tangents_y: Sequence[float],
    size: tuple[int, int],
    convention: str,
    mode: str,
    antialias: str,
) -> Tensor:
    """Tiles [N,C,h,w]; arguments as in the operator refkp::e2p."""
    check_values(rotation, image_index, len(erp))
    dtype = erp.dtype if erp.is_floating_point() else torch.float32
    tiles = []
    for n in range(len(rotation)):
        x, y = (tangents[n % len(tangents)] for tangents in (tangents_x, tangents_y))
        image = erp[image_index[n]].to(torch.float64)
        tiles.append(
            _tile(image, rotation[n].to(torch.float64), x, y, size, convention, mode, antialias).to(dtype)
        )
    empty = (
        erp.sum().to(dtype).expand(0, erp.shape[1], *size)
    )  # without tiles the gradient is zero, not absent
    return torch.stack(tiles) if tiles else empty


def _tile(
    image: Tensor, rotation: Tensor, tangent_x: float, tangent_y: float, size: tuple[int, int],
    convention: str, mode: str, antialias: str,
) -> Tensor:  # fmt: skip
    step_x, start_x = pixel_grid(tangent_x, size[1], convention)
    step_y, start_y = pixel_grid(tangent_y, size[0], convention)
    erp_size = (image.shape[1], image.shape[2])
    span = erp_span(erp_size, step_x, step_y)
    s = sample_count(erp_size, span, antialias)
    tangents_right = _sample_tangents(step_x, start_x, size[1], s, convention).to(image.device)
    tangents_down = _sample_tangents(step_y, start_y, size[0], s, convention).to(image.device)
    right = tangents_right[None, :].expand(len(tangents_down), -1)
    up = -tangents_down[:, None].expand(-1, len(tangents_right))
    directions = torch.stack([right, up, torch.ones_like(up)], dim=-1) @ rotation.mT
    position = _erp_position(directions, *erp_size, convention)
    level = _sample_level(right, up, step_x / s, step_y / s, pixels_per_radian(erp_size))
    samples = _sample_pyramid(
        image, *position, level, level_count(erp_size, span, antialias), convention, mode
    )
    return samples.unflatten(1, (size[0], s)).unflatten(3, (size[1], s)).mean((2, 4))


def _sample_tangents(step: float, start: float, count: int, s: int, convention: str) -> Tensor:
    """Tangents of `s` samples spread evenly over each of `count` pixels, counted from the centre.

    Not from the start: the tangents of a wide tile are large there, and their rounding would move its middle.
    """
    position = (torch.arange(count * s, dtype=torch.float64) + 0.5) / s - 0.5
    centre = pixel_centre(count, convention)
    return (start + step * centre) + step * (position - centre)


def _sample_level(right: Tensor, up: Tensor, step_x: float, step_y: float, scale: float) -> Tensor:
    """The pyramid level of samples: of the longer side on the sphere, in pixels at the equator, less a half."""
    reach = 1 + right.square() + up.square()
    across, down = step_x * (1 + up.square()).sqrt(), step_y * (1 + right.square()).sqrt()
    return torch.log2(scale * torch.maximum(across, down) / reach) - 0.5


def _erp_position(directions: Tensor, height: int, width: int, convention: str) -> tuple[Tensor, Tensor]:
    """Continuous column and row of directions [h,w,3]; integers are pixel centres."""
    x, y, z = (directions + 0.0).unbind(-1)  # + 0.0 makes -0 to 0, so that atan2(0, -0) is 0 and not pi
    level = torch.hypot(x, z)
    at_pole = level <= _POLE_RADIUS * y.abs()
    longitude = torch.where(at_pole, 0.0, torch.atan2(x, z))
    latitude = torch.atan2(y, level)
    shift = 0.5 if convention == "equilib" else -0.5
    column = (longitude / (2 * math.pi) + 0.5) * width + shift
    row = (0.5 - latitude / math.pi) * height + shift
    return column, row.clamp(0, height - 1) if convention == "equilib" else row


def _sample_pyramid(
    image: Tensor, column: Tensor, row: Tensor, level: Tensor, num_levels: int, convention: str, mode: str
) -> Tensor:
    """Samples of the image and `num_levels` halved ones, linear between the two next to `level`."""
    level = level.clamp(0, num_levels)
    samples = weighted((1 - level).clamp(min=0), _sample(image, column, row, convention, mode))
    for k in range(1, num_levels + 1):
        image = image.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).mean((2, 4))
        share = (1 - (level - k).abs()).clamp(min=0)
        coarse_column, coarse_row = ((position + 0.5) / 2**k - 0.5 for position in (column, row))
        samples = samples + weighted(share, _sample(image, coarse_column, coarse_row, convention, mode))
    return samples


def _sample(image: Tensor, column: Tensor, row: Tensor, convention: str, mode: str) -> Tensor:
    if mode == "nearest":
        nearest = torch.round if convention == "equilib" else _round_half_up
        return _fetch(image, nearest(row).long(), nearest(column).long(), convention)
    left, top = column.detach().floor().long(), row.detach().floor().long()
    right_share, lower_share = column - left, row - top
    value = torch.zeros_like(image[:, :1, :1])
    for down, row_share in ((0, 1 - lower_share), (1, lower_share)):
        for right, column_share in ((0, 1 - right_share), (1, right_share)):
            tap = _fetch(image, top + down, left + right, convention)
            value = value + weighted(row_share * column_share, tap)
    return value


def _round_half_up(position: Tensor) -> Tensor:
    return torch.floor(position + 0.5)


def _fetch(image: Tensor, row: Tensor, column: Tensor, convention: str) -> Tensor:
    """Pixels [C,h,w] of an image [C,H,W]: columns wrap; beyond a pole lies the same row half a turn away."""
    height, width = image.shape[1:]
    if convention != "equilib":
        column = torch.where((row < 0) | (row >= height), column + width // 2, column)
    return image[:, row.clamp(0, height - 1), column % width]
