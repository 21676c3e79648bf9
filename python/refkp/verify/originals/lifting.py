"""Points of the object under points of a template, as the published original takes them. Source: spec pose 6.2."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import require_shape, require_trailing
from refkp.geometry.cameras import unproject
from refkp.systems.pose.inference.lifting import Lifted, has_depth


def lift_bilinear(
    uv: Tensor, depth: Tensor, K: Tensor, cam_from_obj: Tensor, *, unit_scale: float = 1.0
) -> Lifted:
    """The points that a template shows, with a depth mixed of the four pixels around.

        X_cam = z K^-1 (u, v, 1),   X_obj = cam_from_obj^-1 X_cam / unit_scale

    Pixel (row i, column j) has the point (j, i); points beyond the border are clamped. A point is valid if every
    pixel with a share in it has a depth.

    Args:
        uv: [m,2] float, points (x, y) in pixels of the template.
        depth: [H,W] float, along z, in units of the template; 0, NaN or infinite where there is none.
        K: [3,3] float64, pixels.
        cam_from_obj: [4,4] float64, in units of the template.
        unit_scale: template units per millimetre.
    """
    require_shape("lift_bilinear", "uv", uv, "m,2")
    require_shape("lift_bilinear", "depth", depth, "H,W")
    z, valid = _bilinear(uv.double(), depth.double())
    pose = cam_from_obj.double()
    points = unproject(uv.double(), z, K.double(), pose[:3, :3], pose[:3, 3])
    return Lifted(points / unit_scale, valid)


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


def _bilinear(uv: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Depth [m] and whether it is known [m]."""
    height, width = depth.shape
    x, y = uv[:, 0].clamp(0, width - 1), uv[:, 1].clamp(0, height - 1)
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
        value = depth[row, column]
        z = z + share * torch.where(has_depth(value), value, 0)
        valid = valid & (has_depth(value) | (share == 0))
    return z, valid
