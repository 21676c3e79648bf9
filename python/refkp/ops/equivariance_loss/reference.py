"""equivariance_loss by its definition, in float64: warp the maps back, and compare. Gradients by torch autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.ops._theta import check_theta_values
from refkp.ops.affine_warp.reference import affine_warp


def equivariance_loss(maps: Tensor, maps_warped: Tensor, theta: Tensor, coverage: bool) -> Tensor:
    """See `refkp.ops.equivariance_loss`; one value an item."""
    if not torch.compiler.is_compiling():
        check_theta_values("equivariance_loss", theta)
    plain, warped = maps.double(), maps_warped.double()
    size = maps.shape[2:]
    returned = affine_warp(warped, theta, size, inverse=True, fill=())
    weight = plain.new_ones(len(plain), 1, *size)
    if coverage:
        weight = affine_warp(weight, theta, size, inverse=True, fill=())
    squares = (weight * plain - returned).square().sum(dim=(1, 2, 3))
    covered = maps.shape[1] * weight.sum(dim=(1, 2, 3))
    tiny = torch.finfo(torch.float64).tiny
    return torch.where(covered == 0, 0, squares / covered.clamp(min=tiny)).to(maps.dtype)
