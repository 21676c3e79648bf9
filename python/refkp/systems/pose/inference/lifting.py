"""From points of templates to points of the object, and from a crop to its picture. Source: spec pose 6.2."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_dtype, require_shape, require_trailing
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
    mode: str = "pixel",
    max_step_px: float = 10.0,
    unit_scale: float = 1.0,
    pixel_offset: float = 0.5,
) -> Lifted:
    """The points of the object that templates show at image points.

        X_cam = z K^-1 (u, v, 1),   X_obj = cam_from_obj^-1 X_cam / unit_scale

    Mode "pixel" reads the pixel that contains the point and takes the point to the centre of that pixel: the
    depth is never mixed with that of another surface. A pixel counts if its depth is valid (finite, > 0) and no
    valid neighbour above, below, left or right differs by more than `max_step_px` footprints z / fx (of the
    nearer of both): beside an edge, a flow that is off by one pixel would be on another surface. Mode
    "bilinear" mixes the four pixels around the point, clamped at the border; all with a share must be valid.

    Args:
        uv: [m,2] float, points (x, y) in pixels of the templates.
        template: [m] int64, the template that each point lies in.
        depth: [S,H,W] float, along z, in units of the templates; 0, NaN or infinite where there is none.
        K: [S,3,3] float64, pixels.
        cam_from_obj: [S,4,4] float64, in units of the templates.
        mode: "pixel" or "bilinear".
        max_step_px: see above; > 0.
        unit_scale: template units per millimetre.
        pixel_offset: pixel (row i, column j) has the point (j + o, i + o).

    Returns:
        Lifted, float64. A point outside the picture is not valid in mode "pixel".

    Raises:
        ValueError: wrong shapes or dtypes, or an unknown mode.

    Source: spec pose 6.2.

    >>> depth = torch.full((1, 4, 4), 100.0)
    >>> K = torch.tensor([[[2.0, 0.0, 2.0], [0.0, 2.0, 2.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    >>> pose = torch.eye(4, dtype=torch.float64)[None]
    >>> lift(torch.tensor([[2.5, 0.5]]), torch.tensor([0]), depth, K, pose).points.tolist()
    [[25.0, -75.0, 100.0]]
    """
    _check(uv, template, depth, K, cam_from_obj)
    require_choice("lift", "mode", mode, ("pixel", "bilinear"))
    if not max_step_px > 0:
        fail("lift", "max_step_px", "> 0", max_step_px)
    if mode == "pixel":
        step = max_step_px / K[:, 0, 0].double()
        samples = _nearest_pixel(uv.double(), template, depth.double(), step, pixel_offset)
    else:
        samples = _bilinear(uv.double(), template, depth.double(), pixel_offset)
    pose = cam_from_obj.double()[template]
    points = unproject(samples.uv, samples.z, K.double()[template], pose[:, :3, :3], pose[:, :3, 3])
    return Lifted(points / unit_scale, samples.valid)


def crop_to_image(uv: Tensor, crop_from_image: Tensor) -> Tensor:
    """Points of a crop in the picture that it was cut from: M^-1 (u, v, 1).

    Args:
        uv: [...,2] float, pixels of the crop.
        crop_from_image: [3,3] float64, affine.

    Returns:
        [...,2] float64, pixels of the picture, in the pixel convention for which the matrix holds.

    >>> crop_to_image(torch.tensor([[30.0, 40.0]]), torch.tensor([[2.0, 0, -10], [0, 2, -20], [0, 0, 1]])).tolist()
    [[20.0, 30.0]]
    """
    require_trailing("crop_to_image", "uv", uv, "2")
    require_shape("crop_to_image", "crop_from_image", crop_from_image, "3,3")
    homogeneous = torch.cat((uv.double(), torch.ones_like(uv[..., :1]).double()), dim=-1)
    return (homogeneous @ torch.linalg.inv(crop_from_image.double()).mT)[..., :2]


def _check(uv: Tensor, template: Tensor, depth: Tensor, K: Tensor, cam_from_obj: Tensor) -> None:
    require_shape("lift", "uv", uv, "m,2")
    require_shape("lift", "template", template, "m", m=len(uv))
    require_dtype("lift", "template", template, (torch.int64,))
    require_shape("lift", "depth", depth, "S,H,W")
    require_shape("lift", "K", K, "S,3,3", S=len(depth))
    require_shape("lift", "cam_from_obj", cam_from_obj, "S,4,4", S=len(depth))


def _nearest_pixel(uv: Tensor, template: Tensor, depth: Tensor, step: Tensor, offset: float) -> _Samples:
    height, width = depth.shape[-2:]
    column, row = (uv - offset + 0.5).floor().long().unbind(-1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    z = depth[template, row, column]
    valid = inside & _has_depth(z)
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        beside = depth[template, (row + down).clamp(0, height - 1), (column + right).clamp(0, width - 1)]
        edge = (beside - z).abs() > step[template] * torch.minimum(z, beside)
        valid = valid & ~(_has_depth(beside) & edge)
    centre = torch.stack((column, row), dim=-1) + offset
    return _Samples(centre.double(), torch.where(valid, z, 0), valid)


def _bilinear(uv: Tensor, template: Tensor, depth: Tensor, offset: float) -> _Samples:
    height, width = depth.shape[-2:]
    x = (uv[:, 0] - offset).clamp(0, width - 1)
    y = (uv[:, 1] - offset).clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    across, down = x - left, y - top
    z = torch.zeros_like(x)
    valid = torch.ones_like(left, dtype=torch.bool)
    for row, column, share in (
        (top, left, (1 - down) * (1 - across)),
        (top, right, (1 - down) * across),
        (bottom, left, down * (1 - across)),
        (bottom, right, down * across),
    ):
        value = depth[template, row, column]
        z = z + share * torch.where(_has_depth(value), value, 0)
        valid = valid & (_has_depth(value) | (share == 0))
    return _Samples(uv, z, valid)


def _has_depth(z: Tensor) -> Tensor:
    return torch.isfinite(z) & (z > 0)
