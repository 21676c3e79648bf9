"""The cameras of e2p: fields of view and rotations become one matrix per tile, which maps pixels to rays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail

#: How far a rotation may be from orthonormal, per element.
ROTATION_TOLERANCE = 1e-3


#: Samples per tile pixel and axis. Beyond it a single pixel takes seconds.
MAX_SAMPLES = 4096


class Cameras(NamedTuple):
    """What a kernel needs to know of N tiles."""

    rays: Tensor  # [N,3,3] float64: the direction of pixel (column, row) is rays @ (column - c, row - r, 1)
    grid: Tensor  # [N,4] float64: step and start of the tangents of columns, then of rows, growing down
    samples: Tensor  # [N] int64: samples per pixel and axis
    image_index: Tensor  # [N] int64
    num_levels: int  # how often the ERP image is halved; 0 but for antialias="mip"
    centre: tuple[float, float]  # (c, r), the place of tangents 0, whole or half


def make_cameras(
    erp_size: tuple[int, int],
    rotation: Tensor,
    image_index: Tensor,
    tangents_x: Sequence[float],
    tangents_y: Sequence[float],
    size: tuple[int, int],
    convention: str,
    antialias: str,
) -> Cameras:
    """The cameras of tiles of `size`, tangents being those of half the fields of view, one or N of each.

    What is no rotation becomes NaN: on CUDA it cannot be refused without waiting for the device.
    """
    device = rotation.device
    centre = pixel_centre(size[1], convention), pixel_centre(size[0], convention)
    grids = [
        (*pixel_grid(x, size[1], convention), *pixel_grid(y, size[0], convention))
        for x, y in zip(tangents_x, tangents_y, strict=True)
    ]
    spans = [erp_span(erp_size, step_x, step_y) for step_x, _, step_y, _ in grids]
    counts = [sample_count(erp_size, span, antialias) for span in spans]
    levels = [level_count(erp_size, span, antialias) for span in spans]
    turn = rotation.detach().to(torch.float64)
    turn = torch.where(is_rotation(turn)[:, None, None], turn, float("nan"))
    if len(grids) == 1:  # filled on the device: a copy from the host would wait for it
        columns = [torch.full((len(turn),), value, device=device, dtype=torch.float64) for value in grids[0]]
        grid = torch.stack(columns, dim=1)
        samples = torch.full((len(turn),), counts[0], device=device)
    else:
        grid = torch.tensor(grids, dtype=torch.float64, device=device).view(-1, 4)
        samples = torch.tensor(counts, dtype=torch.int64, device=device)
    step_x, start_x, step_y, start_y = grid[:, :, None].unbind(1)
    right, up, forward = turn.unbind(-1)
    middle_x, middle_y = start_x + step_x * centre[0], start_y + step_y * centre[1]
    rays = torch.stack([right * step_x, -up * step_y, right * middle_x - up * middle_y + forward], dim=-1)
    return Cameras(
        rays.contiguous(), grid, samples, image_index.to(device).contiguous(), max(levels, default=0), centre
    )


def pixel_grid(tangent: float, count: int, convention: str) -> tuple[float, float]:
    """Step and start such that pixel i of `count` has tangent start + step * i, growing right or down.

    canonical: centres of `count` parts of [-T, T]; py360convert: -T to T inclusive; equilib: 0 at count/2.
    At `pixel_centre` the sum is exactly 0, but for the one pixel of py360convert, at -T.
    """
    if convention == "py360convert" and count == 1:
        return 0.0, -tangent
    step = 2.0 * tangent / (count - 1 if convention == "py360convert" else count)
    return step, -step * pixel_centre(count, convention)


def pixel_centre(count: int, convention: str) -> float:
    """The place among `count` pixels, whole or half, where the tangent is 0."""
    return count / 2 if convention == "equilib" else (count - 1) / 2


def erp_span(erp_size: tuple[int, int], step_x: float, step_y: float) -> float:
    """The ERP pixels that a tile pixel spans at the centre of a level tile, the larger of both axes."""
    return max(step_x, step_y) * pixels_per_radian(erp_size)


def pixels_per_radian(erp_size: tuple[int, int]) -> float:
    """ERP pixels per radian at the equator, the larger of both axes."""
    return max(erp_size[0] / math.pi, erp_size[1] / (2.0 * math.pi))


def sample_count(erp_size: tuple[int, int], span: float, antialias: str) -> int:
    """Samples per axis of a pixel that spans `span` ERP pixels.

    "box": the span rounded up. "mip": 1, or as many as keep the level at the centre among those that the
    image has.
    """
    if antialias == "none":
        return 1
    if antialias == "mip":
        span /= math.sqrt(2.0) * 2 ** _halvings(erp_size)
    count = max(1, math.ceil(span - 1e-6))
    if count > MAX_SAMPLES:
        rule = f"'none' where a tile pixel spans more than {MAX_SAMPLES} ERP pixels"
        fail(
            "e2p",
            "antialias",
            rule,
            f"{antialias!r} over {count}",
            "Shrink `erp`, narrow the field or enlarge `size`.",
        )
    return count


def level_count(erp_size: tuple[int, int], span: float, antialias: str) -> int:
    """The levels beyond the ERP image that the samples of a pixel of `span` ERP pixels lie between."""
    if antialias != "mip" or span <= math.sqrt(2.0):
        return 0
    level = math.log2(span / sample_count(erp_size, span, antialias)) - 0.5
    return min(max(0, math.ceil(level)), _halvings(erp_size))


def pyramid_elements(erp_shape: Sequence[int], num_levels: int) -> int:
    """The elements of the levels 1 to `num_levels` of images [B,C,H,W], one after the other."""
    num_images, num_channels, height, width = erp_shape
    return sum(
        num_images * num_channels * (height >> level) * (width >> level) for level in range(1, num_levels + 1)
    )


def _halvings(erp_size: tuple[int, int]) -> int:
    """How often height and width can be halved to whole pixels with an even width left."""
    common = math.gcd(erp_size[0], erp_size[1] // 2) if erp_size[1] % 2 == 0 else 1
    return (common & -common).bit_length() - 1


def is_rotation(matrix: Tensor) -> Tensor:
    """Whether each matrix [N,3,3] has orthonormal rows and determinant +1 within the tolerance; bool [N]."""
    identity = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    skewed = (matrix @ matrix.mT - identity).abs().amax((1, 2))
    mirrored = (torch.linalg.cross(matrix[:, 0], matrix[:, 1]) - matrix[:, 2]).abs().amax(1)
    return (skewed <= ROTATION_TOLERANCE) & (mirrored <= ROTATION_TOLERANCE)
