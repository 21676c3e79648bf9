"""affine_warp, slow and obvious: four taps fetched by index, in float64, gradients by torch autograd."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp.ops._taps import weighted
from refkp.ops._theta import check_theta_values


def affine_warp(
    image: Tensor, theta: Tensor, size: Sequence[int], inverse: bool, fill: Sequence[float]
) -> Tensor:
    """See `refkp.ops.affine_warp`; `fill` has one value a channel or none."""
    if not torch.compiler.is_compiling():
        check_theta_values("affine_warp", theta)
    background = torch.tensor(fill or [0.0] * image.shape[1], dtype=torch.float64, device=image.device)
    return _warp(image.double(), theta.double(), size, inverse, background[:, None]).to(image.dtype)


def _warp(image: Tensor, theta: Tensor, size: Sequence[int], inverse: bool, background: Tensor) -> Tensor:
    """The image goes on as `background` [C,1]; it is not subtracted and added again, which would cost digits."""
    height, width = image.shape[2:]
    if inverse:
        linear = torch.linalg.inv(theta[:, :, :2])
        theta = torch.cat([linear, -linear @ theta[:, :, 2:]], dim=2)
    px, py = _source_pixels(theta, (height, width), size)
    x0, y0 = px.detach().floor(), py.detach().floor()
    out = torch.zeros(*image.shape[:2], px.shape[1], dtype=image.dtype, device=image.device)
    for dy, weight_y in ((0, 1 - (py - y0)), (1, py - y0)):
        for dx, weight_x in ((0, 1 - (px - x0)), (1, px - x0)):
            x, y, weight = x0 + dx, y0 + dy, (weight_x * weight_y)[:, None]
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).nan_to_num().long()
            taps = image.flatten(2).gather(2, index[:, None].expand(-1, image.shape[1], -1))
            out = out + weighted(weight, torch.where(inside[:, None], taps, background))
    out = torch.where((px - px + py - py == 0)[:, None], out, torch.nan)  # the position must be finite
    return out.view(*image.shape[:2], *size)


def _source_pixels(theta: Tensor, in_size: Sequence[int], out_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(px, py), the pixel indices that every output pixel is read at, row by row: [B,h*w] each.

    Counted in pixels from the middle of both images, where the identity and the mirror are exact.
    """
    (in_height, in_width), (height, width) = in_size, out_size
    j = torch.arange(width, dtype=theta.dtype, device=theta.device) - (width - 1) / 2
    i = torch.arange(height, dtype=theta.dtype, device=theta.device) - (height - 1) / 2
    i, j = (offsets.flatten() for offsets in torch.meshgrid(i, j, indexing="ij"))
    a, b, tx, c, d, ty = theta.flatten(1).unsqueeze(-1).unbind(1)
    px = a * (in_width / width) * j + b * (in_width / height) * i + tx * (in_width / 2) + (in_width - 1) / 2
    py = (
        c * (in_height / width) * j
        + d * (in_height / height) * i
        + ty * (in_height / 2)
        + (in_height - 1) / 2
    )
    return px, py
