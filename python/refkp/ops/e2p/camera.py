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

    rays: Tensor  # [N,3,3] float64: the direction of pixel (column, row) is rays @ (column, row, 1)
    samples: Tensor  # [N] int64: samples per pixel and axis
    image_index: Tensor  # [N] int64


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
    grids = [
        (*pixel_grid(x, size[1], convention), *pixel_grid(y, size[0], convention))
        for x, y in zip(tangents_x, tangents_y, strict=True)
    ]
    counts = [sample_count(erp_size, step_x, step_y, antialias) for step_x, _, step_y, _ in grids]
    turn = rotation.detach().to(torch.float64)
    turn = torch.where(is_rotation(turn)[:, None, None], turn, float("nan"))
    if len(grids) == 1:
        step_x, start_x, step_y, start_y = (
            torch.full((), value, device=device, dtype=torch.float64) for value in grids[0]
        )
        samples = torch.full((len(turn),), counts[0], device=device)
    else:
        step_x, start_x, step_y, start_y = torch.tensor(grids, dtype=torch.float64, device=device).T[
            :, :, None
        ]
        samples = torch.tensor(counts, device=device)
    right, up, forward = turn.unbind(-1)
    rays = torch.stack([right * step_x, -up * step_y, right * start_x - up * start_y + forward], dim=-1)
    return Cameras(rays.contiguous(), samples, image_index.to(device).contiguous())


def pixel_grid(tangent: float, count: int, convention: str) -> tuple[float, float]:
    """Step and start such that pixel i of `count` has tangent start + step * i, growing right or down.

    canonical: centres of `count` parts of [-T, T]; py360convert: -T to T inclusive; equilib: 0 at count/2.
    """
    step = 2.0 * tangent / count
    if convention == "canonical":
        return step, step / 2 - tangent
    if convention == "py360convert":
        return (2.0 * tangent / (count - 1) if count > 1 else 0.0), -tangent
    return step, -tangent


def sample_count(erp_size: tuple[int, int], step_x: float, step_y: float, antialias: str) -> int:
    """Samples per axis: the ERP pixels that a tile pixel spans at the centre of a level tile, rounded up."""
    if antialias == "none":
        return 1
    pixels_per_radian = max(erp_size[0] / math.pi, erp_size[1] / (2.0 * math.pi))
    count = max(1, math.ceil(max(step_x, step_y) * pixels_per_radian - 1e-6))
    if count > MAX_SAMPLES:
        rule = f"'none' where a tile pixel spans more than {MAX_SAMPLES} ERP pixels"
        fail(
            "e2p",
            "antialias",
            rule,
            f"'box' over {count}",
            "Shrink `erp`, narrow the field or enlarge `size`.",
        )
    return count


def is_rotation(matrix: Tensor) -> Tensor:
    """Whether each matrix [N,3,3] has orthonormal rows and determinant +1 within the tolerance; bool [N]."""
    identity = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    skewed = (matrix @ matrix.mT - identity).abs().amax((1, 2))
    mirrored = (torch.linalg.cross(matrix[:, 0], matrix[:, 1]) - matrix[:, 2]).abs().amax(1)
    return (skewed <= ROTATION_TOLERANCE) & (mirrored <= ROTATION_TOLERANCE)
