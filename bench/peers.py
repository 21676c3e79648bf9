"""What a user would write without refkp: the best torch compositions that the ops are measured against."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# ---- affine_warp and equivariance_loss ------------------------------------------------------------


def affine_warp(image: Tensor, theta: Tensor) -> Tensor:
    """The sampling grid in memory, then grid_sample; zeros outside."""
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


def invert_affine(theta: Tensor) -> Tensor:
    """[B,2,3] -> the inverse maps [B,2,3]."""
    linear = torch.linalg.inv(theta[:, :, :2])
    return torch.cat((linear, -linear @ theta[:, :, 2:]), dim=2)


def equivariance_loss(maps: Tensor, maps_warped: Tensor, theta: Tensor) -> Tensor:
    """Warp back, then the mean squared difference."""
    return F.mse_loss(affine_warp(maps_warped, invert_affine(theta)), maps)


# ---- vicreg ---------------------------------------------------------------------------------------

Covariance = Callable[[Tensor, Tensor], Tensor]  # centred [P,L,D], squared column norms [P,D] -> [P]


def vicreg(x: Tensor, y: Tensor, covariance: Covariance, chunk: int | None = None) -> Tensor:
    """The loss of every pair [P] of strips x, y [P,L,D], all pairs in one batch or `chunk` at a time."""
    if chunk is not None:
        parts = zip(x.split(chunk), y.split(chunk), strict=True)
        return torch.cat([vicreg(a, b, covariance) for a, b in parts])
    invariance = (x - y).square().mean((1, 2))
    (variance_x, covariance_x), (variance_y, covariance_y) = (_spread(z, covariance) for z in (x, y))
    return 25 * invariance + 12.5 * (variance_x + variance_y) + covariance_x + covariance_y


def _spread(z: Tensor, covariance: Covariance) -> tuple[Tensor, Tensor]:
    centred = z - z.mean(1, keepdim=True)
    squares = centred.square().sum(1)
    deviation = torch.sqrt(squares / (z.shape[1] - 1) + 1e-4)
    return F.relu(1 - deviation).mean(1), covariance(centred, squares)


def vicreg_covariance(centred: Tensor, squares: Tensor) -> Tensor:
    """Off-diagonal squares of the D x D covariance matrices."""
    matrix = centred.transpose(1, 2) @ centred / (centred.shape[1] - 1)
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    return (matrix.square().sum((1, 2)) - diagonal.square().sum(1)) / centred.shape[2]


def vicreg_gram(centred: Tensor, squares: Tensor) -> Tensor:
    """The same from the L x L Gram matrices."""
    gram = centred @ centred.transpose(1, 2)
    return (gram.square().sum((1, 2)) - squares.square().sum(1)) / (
        centred.shape[2] * (centred.shape[1] - 1) ** 2
    )
