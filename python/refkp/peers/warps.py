"""affine_warp and equivariance_loss as a user writes them in torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
