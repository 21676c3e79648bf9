"""From points of templates to points of the object. Source: spec pose 6.2."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_dtype, require_shape
from refkp.geometry.cameras import unproject


class Lifted(NamedTuple):
    """Points of the object under points of template crops."""

    points: Tensor  # float64 [m,3], millimetres in the object frame; finite also where not valid
    valid: Tensor  # bool [m], the template has a trustworthy depth there

    @property
    def num_dropped(self) -> int:
        """How many points have no trustworthy depth."""
        return int((~self.valid).sum())


class _Samples(NamedTuple):
    uv: Tensor  # float64 [m,2], the image points that the depths belong to
    z: Tensor  # float64 [m]
    valid: Tensor  # bool [m]


def lift(
    uv: Tensor,
    template: Tensor,
    depth: Tensor,
    K: Tensor,
    cam_from_obj: Tensor,
    *,
    max_step_px: float = 10.0,
) -> Lifted:
    """The points of the object that templates show at image points.

        X_cam = z K^-1 (u, v, 1),   X_obj = cam_from_obj^-1 X_cam

    Each point is taken to the centre of the pixel that contains it, whose depth is never mixed with that of
    another surface. A pixel counts if its depth is valid (finite, > 0) and no valid neighbour above, below, left
    or right differs by more than `max_step_px` footprints z / fx (of the nearer of both): beside an edge, a flow
    that is off by one pixel would be on another surface.

    Args:
        uv: [m,2] float, points (x, y) in pixels of the templates; pixel (row i, column j) has the centre
            (j + 0.5, i + 0.5).
        template: [m] int64, the template that each point lies in.
        depth: [S,H,W] float, millimetres along z; 0, NaN or infinite where there is none.
        K: [S,3,3] float64, pixels.
        cam_from_obj: [S,4,4] float64, millimetres.
        max_step_px: see above; > 0.

    Returns:
        Lifted, float64. A point outside the picture is not valid.

    Raises:
        ValueError: wrong shapes or dtypes.

    Source: spec pose 6.2.

    >>> depth = torch.full((1, 4, 4), 100.0)
    >>> K = torch.tensor([[[2.0, 0.0, 2.0], [0.0, 2.0, 2.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    >>> pose = torch.eye(4, dtype=torch.float64)[None]
    >>> lift(torch.tensor([[2.5, 0.5]]), torch.tensor([0]), depth, K, pose).points.tolist()
    [[25.0, -75.0, 100.0]]
    """
    _check(uv, template, depth, K, cam_from_obj)
    if not max_step_px > 0:
        fail("lift", "max_step_px", "> 0", max_step_px)
    samples = _nearest_pixel(uv.double(), template, depth.double(), max_step_px / K[:, 0, 0].double())
    pose = cam_from_obj.double()[template]
    points = unproject(samples.uv, samples.z, K.double()[template], pose[:, :3, :3], pose[:, :3, 3])
    return Lifted(points, samples.valid)


def has_depth(z: Tensor) -> Tensor:
    """bool [...]: the depth is known."""
    return torch.isfinite(z) & (z > 0)


def _check(uv: Tensor, template: Tensor, depth: Tensor, K: Tensor, cam_from_obj: Tensor) -> None:
    require_shape("lift", "uv", uv, "m,2")
    require_shape("lift", "template", template, "m", m=len(uv))
    require_dtype("lift", "template", template, (torch.int64,))
    require_shape("lift", "depth", depth, "S,H,W")
    require_shape("lift", "K", K, "S,3,3", S=len(depth))
    require_shape("lift", "cam_from_obj", cam_from_obj, "S,4,4", S=len(depth))


def _nearest_pixel(uv: Tensor, template: Tensor, depth: Tensor, step: Tensor) -> _Samples:
    height, width = depth.shape[-2:]
    column, row = uv.floor().long().unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    z = depth[template, row, column]
    valid = inside & has_depth(z)
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        beside = depth[template, (row + down).clamp(0, height - 1), (column + right).clamp(0, width - 1)]
        edge = (beside - z).abs() > step[template] * torch.minimum(z, beside)
        valid = valid & ~(has_depth(beside) & edge)
    centre = torch.stack((column, row), dim=-1) + 0.5
    return _Samples(centre.double(), torch.where(valid, z, 0), valid)
