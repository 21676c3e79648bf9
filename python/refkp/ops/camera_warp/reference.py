"""camera_warp, slow and obvious: the map of every tap in float64, one row of taps after the other.

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

#: A footprint this much longer than a whole number of pixels counts as that number.
_SLACK = 1.001
_CELL_TAPS, _MAX_CELLS = 8, 512


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
    radius: Tensor  # on the plane at distance 1
    before_fold: Tensor  # bool


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
    out = _mean_over_taps(image.double(), camera, x, y, antialias, background)
    out = out.view(*image.shape[:2], *size)
    return out.to(image.dtype) if image.is_floating_point() else (out + 0.5).clamp(0, 255).to(image.dtype)


def _camera(K: Tensor, lens: Tensor, affine: Tensor) -> Camera:
    bottom = affine.new_tensor([0.0, 0.0, 1.0]).expand(len(affine), 1, 3)
    to_raw = torch.linalg.inv(torch.cat([affine, bottom], dim=1))
    to_plane = torch.linalg.inv(torch.cat([K[:, :2], bottom], dim=1)) @ to_raw
    entries = tuple(K[:, i, j, None] for i in (0, 1) for j in (0, 1))
    coefficients = tuple(lens[:, k, None] for k in range(5))
    return Camera(entries, to_raw[:, :2], to_plane[:, :2], coefficients, fold_radius(lens)[:, None])


def _mean_over_taps(
    image: Tensor, camera: Camera, x: Tensor, y: Tensor, antialias: bool, background: Tensor
) -> Tensor:
    """[B,C,N] at the middles (x, y) [1,N] of output pixels."""
    middle = _locate(camera, x, y)
    seen = _may_see(camera, middle, image.shape[2:]) & antialias
    cells_x, taps_x = _counts(torch.hypot(middle.px_x, middle.py_x), seen)
    cells_y, taps_y = _counts(torch.hypot(middle.px_y, middle.py_y), seen)
    n, m = cells_x * taps_x, cells_y * taps_y
    most_x, most_y = int(n.max()), int(m.max())
    total = image.new_zeros(*image.shape[:2], n.shape[1])
    column = torch.arange(most_x, device=image.device).expand(*n.shape, most_x).flatten(1)
    wide_x, wide_y, cells_x, taps_x, cells_y, taps_y = (
        value.expand_as(n).repeat_interleave(most_x, dim=1)
        for value in (x, y, cells_x, taps_x, cells_y, taps_y)
    )
    for i in range(most_y):
        cell_x, tap_x = (column // taps_x + 0.5) / cells_x - 0.5, (column % taps_x + 0.5) / taps_x - 0.5
        cell_y, tap_y = (i // taps_y + 0.5) / cells_y - 0.5, (i % taps_y + 0.5) / taps_y - 0.5
        at = _locate(camera, wide_x + cell_x, wide_y + cell_y)
        dx, dy = tap_x / cells_x, tap_y / cells_y
        px = at.px + at.px_x * dx + at.px_y * dy
        py = at.py + at.py_x * dx + at.py_y * dy
        value = _sample(image, px, py, at.before_fold, background)
        here = (column < cells_x * taps_x) & (i < cells_y * taps_y)
        value = torch.where(here[:, None], value, 0.0)
        total = total + value.unflatten(2, (n.shape[1], most_x)).sum(3)
    return total / (n * m)[:, None]


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
    return Place(px, py, *by_x, *by_y, s.detach().sqrt(), before_fold)


def _may_see(camera: Camera, at: Place, size: Sequence[int]) -> Tensor:
    """Whether the footprint of a pixel, doubled for what is not linear, touches the image before the fold."""
    reach = camera.to_plane[:, :, :2].detach().abs().sum((1, 2))[:, None]
    reach_x, reach_y = at.px_x.abs() + at.px_y.abs(), at.py_x.abs() + at.py_y.abs()
    inside_x = (at.px + reach_x > -1) & (at.px - reach_x < size[1])
    inside_y = (at.py + reach_y > -1) & (at.py - reach_y < size[0])
    return (at.radius < camera.fold + reach) & inside_x & inside_y


@torch.no_grad()
def _counts(length: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Cells of a pixel along one axis, and taps of a cell; whole numbers [B,N]."""
    length = torch.where(seen, length, 0.0) / _SLACK
    taps = torch.where(length <= 1, 1, torch.where(length <= 2, 4, _CELL_TAPS))
    return (length / _CELL_TAPS).ceil().clamp(1, _MAX_CELLS), taps.double()


def _sample(image: Tensor, px: Tensor, py: Tensor, before_fold: Tensor, background: Tensor) -> Tensor:
    """Bilinear values [B,C,N]; the image goes on as `background` [C,1], and so does what is beyond the fold."""
    height, width = image.shape[2:]
    readable = before_fold & px.isfinite() & py.isfinite()
    px, py = torch.where(readable, px, -2.0), torch.where(readable, py, -2.0)
    x0, y0 = px.detach().floor(), py.detach().floor()
    out = torch.zeros_like(image[:, :, :1, 0])
    for dy, weight_y in ((0, 1 - (py - y0)), (1, py - y0)):
        for dx, weight_x in ((0, 1 - (px - x0)), (1, px - x0)):
            x, y, weight = x0 + dx, y0 + dy, (weight_x * weight_y)[:, None]
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long()
            taps = image.flatten(2).gather(2, index[:, None].expand(-1, image.shape[1], -1))
            out = out + weighted(weight, torch.where(inside[:, None], taps, background))
    return out
