"""camera_warp, slow and obvious: all pixels at once, one row of their footprints after the other, in float64.

Gradients by torch autograd, to the cameras too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.distortion import fold_radius
from refkp.ops._taps import weighted
from refkp.ops.camera_warp.checks import check_values

#: A side of a footprint up to this long counts as one pixel, whatever rounding makes of it.
_SLACK = 1.001


class Camera(NamedTuple):
    """B cameras, each tensor with one axis for their places."""

    K: tuple[Tensor, ...]  # fx, skew, lower left, fy: [B,1]
    to_raw: Tensor  # [B,2,3] ideal pixel of a place of the output, edge coordinates
    to_plane: Tensor  # [B,2,3] the same on the plane at distance 1
    lens: tuple[Tensor, ...]  # k1, k2, p1, p2, k3: [B,1]
    fold: Tensor  # [B,1]


class Place(NamedTuple):
    """Where places of the output are in the raw image (indices), and the derivative by x and y; [B,N] each."""

    px: Tensor
    py: Tensor
    px_x: Tensor
    py_x: Tensor
    px_y: Tensor
    py_y: Tensor
    before_fold: Tensor  # bool


class Footprint(NamedTuple):
    """What an output pixel covers of the raw image: a parallelogram whose rows are horizontal; [B,N] each."""

    x: Tensor  # its middle, as an index
    y: Tensor
    width: Tensor  # of every row; 0 for a sample without width
    height: Tensor
    shear: Tensor  # how far the middle of a row moves along x, for each row
    present: Tensor  # bool: before the fold


def camera_warp(
    image: Tensor,
    intrinsics: Tensor,
    distortion: Tensor,
    affine: Tensor,
    size: tuple[int, int],
    antialias: bool,
    fill: Sequence[float],
) -> Tensor:
    """See `refkp.ops.camera_warp`; `fill` has one value a channel."""
    if not torch.compiler.is_compiling():
        check_values(intrinsics, distortion, affine)
    if len(image) == 0:  # without images the gradient is zero, not absent
        return image.sum().to(image.dtype).expand(0, image.shape[1], *size)
    background = torch.tensor(fill, dtype=torch.float64, device=image.device)[:, None]
    camera = _camera(intrinsics.double(), distortion.double(), affine.double())
    rows, columns = (torch.arange(n, dtype=torch.float64, device=image.device) + 0.5 for n in size)
    y, x = (places.flatten()[None] for places in torch.meshgrid(rows, columns, indexing="ij"))
    total, covered = _integrate(image.double(), _footprint(_locate(camera, x, y), antialias))
    out = (total + (1 - covered)[:, None] * background).view(*image.shape[:2], *size)
    return out.to(image.dtype) if image.is_floating_point() else (out + 0.5).clamp(0, 255).to(image.dtype)


def _camera(K: Tensor, lens: Tensor, affine: Tensor) -> Camera:
    bottom = affine.new_tensor([0.0, 0.0, 1.0]).expand(len(affine), 1, 3)
    to_raw = torch.linalg.inv(torch.cat([affine, bottom], dim=1))
    to_plane = torch.linalg.inv(torch.cat([K[:, :2], bottom], dim=1)) @ to_raw
    entries = tuple(K[:, i, j, None] for i in (0, 1) for j in (0, 1))
    coefficients = tuple(lens[:, k, None] for k in range(5))
    return Camera(entries, to_raw[:, :2], to_plane[:, :2], coefficients, fold_radius(lens)[:, None])


def _locate(camera: Camera, x: Tensor, y: Tensor) -> Place:
    """The raw pixel and the derivative at places (x, y), in edge coordinates of the output."""
    (ax, bx, cx), (ay, by, cy) = (row.unbind(-1) for row in camera.to_plane[:, :, None].unbind(1))
    u, v = ax * x + bx * y + cx, ay * x + by * y + cy
    k1, k2, p1, p2, k3 = camera.lens
    s = u * u + v * v
    radial = k1 * s + k2 * s**2 + k3 * s**3
    slope = 2 * (k1 + 2 * k2 * s + 3 * k3 * s**2)  # of `radial` by u, over u
    # What the lens adds to (u, v), and the derivative of that.
    du = u * radial + 2 * p1 * u * v + p2 * (s + 2 * u * u)
    dv = v * radial + p1 * (s + 2 * v * v) + 2 * p2 * u * v
    uu = radial + slope * u * u + 2 * p1 * v + 6 * p2 * u
    uv = slope * u * v + 2 * p1 * u + 2 * p2 * v
    vv = radial + slope * v * v + 6 * p1 * v + 2 * p2 * u
    before_fold = (s < camera.fold**2) & ((1 + uu) * (1 + vv) - uv * uv > 0)
    fx, skew, low, fy = camera.K
    (rx, qx, ox), (ry, qy, oy) = (row.unbind(-1) for row in camera.to_raw[:, :, None].unbind(1))
    px = rx * x + qx * y + ox + fx * du + skew * dv - 0.5
    py = ry * x + qy * y + oy + low * du + fy * dv - 0.5
    u_x, v_x, u_y, v_y = uu * ax + uv * ay, uv * ax + vv * ay, uu * bx + uv * by, uv * bx + vv * by
    by_x = rx + fx * u_x + skew * v_x, ry + low * u_x + fy * v_x
    by_y = qx + fx * u_y + skew * v_y, qy + low * u_y + fy * v_y
    return Place(px, py, *by_x, *by_y, before_fold)


def _footprint(at: Place, antialias: bool) -> Footprint:
    """The parallelogram with the covariance of the pixel's, which is that of A [-1/2,1/2]^2, A the derivative.

    12 times the covariance is S = A A^T. The tent of bilinear interpolation adds 2 to S_yy and S_xx, for which width
    and shear make up, so that it is the output that has the covariance of footprint and tent.
    """
    xx, xy, yy = at.px_x**2 + at.px_y**2, at.px_x * at.py_x + at.px_y * at.py_y, at.py_x**2 + at.py_y**2
    height = _side(yy, antialias)
    shear = torch.where(height > 0, xy / (yy + 2), 0.0)
    present = at.before_fold & at.px.isfinite() & at.py.isfinite()
    return Footprint(at.px, at.py, _side(xx - shear * xy, antialias), height, shear, present)


def _side(squared: Tensor, antialias: bool) -> Tensor:
    """The length of a side, or 0 where it is no longer than a pixel."""
    long = (squared > _SLACK**2) & antialias
    return torch.where(long, torch.where(long, squared, 1.0).sqrt(), 0.0)


def _integrate(image: Tensor, foot: Footprint) -> tuple[Tensor, Tensor]:
    """The integral of bilinear interpolation over footprints [B,C,N], and the part of them on the image [B,N]."""
    height, width = image.shape[2:]
    top, num_rows = _window(foot.y, foot.height, height, foot.present)
    total = torch.zeros_like(image[:, :, :1, 0]).expand(-1, -1, top.shape[1])
    covered = torch.zeros_like(foot.y)
    for i in range(max(1, int(num_rows.max()))):  # once at least: the gradient is zero then, not absent
        row = top + i
        x = foot.x + foot.shear * (row - foot.y)
        left, num_columns = _window(x, foot.width, width, i < num_rows)
        column = left[:, :, None] + torch.arange(int(num_columns.max()), device=image.device)
        weight_x = _weight(column - x[:, :, None], foot.width[:, :, None])
        weight = _weight(row - foot.y, foot.height)[:, :, None] * weight_x
        weight = torch.where(column < (left + num_columns)[:, :, None], weight, 0.0)
        index = (row.clamp(0, height - 1)[:, :, None] * width + column.clamp(0, width - 1)).long()
        pixels = image.flatten(2).gather(2, index.flatten(1)[:, None].expand(-1, image.shape[1], -1))
        total = total + weighted(weight[:, None], pixels.unflatten(2, index.shape[1:])).sum(3)
        covered = covered + weight.sum(2)
    return total, covered


@torch.no_grad()
def _window(middle: Tensor, length: Tensor, size: int, present: Tensor) -> tuple[Tensor, Tensor]:
    """The first pixel of an axis that may have a weight, and how many have, of those that are in the image."""
    middle, reach = torch.where(present, middle, 0.0), length / 2 + 1
    first, last = (middle - reach).ceil().clamp(0, size), (middle + reach).floor().clamp(-1, size - 1)
    return first, torch.where(present, last + 1 - first, 0.0).clamp(min=0)


def _weight(distance: Tensor, length: Tensor) -> Tensor:
    """The weight of a pixel at a distance from the middle of a side: its tent's mean over the side."""
    box, long = torch.where(length > 0, length, 1.0), length > 0
    mean = (_tent_integral(distance + box / 2) - _tent_integral(distance - box / 2)) / box
    return torch.where(long, mean, (1 - distance.abs()).clamp(min=0))


def _tent_integral(t: Tensor) -> Tensor:
    """Of max(0, 1 - |t|), from -1 on."""
    t = t.clamp(-1, 1)
    return 0.5 + t - t * t.abs() / 2
