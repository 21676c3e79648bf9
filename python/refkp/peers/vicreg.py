"""vicreg in torch, from the D x D covariance or from the L x L Gram matrices."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Covariance = Callable[[Tensor, Tensor], Tensor]  # centred [P,L,D], squared column norms [P,D] -> [P]


def vicreg(x: Tensor, y: Tensor, covariance: Covariance, chunk: int | None = None) -> Tensor:
    """The loss of every pair [P] of strips x, y [P,L,D], all pairs in one batch or `chunk` at a time."""
    if chunk is not None:
        parts = zip(x.split(chunk), y.split(chunk), strict=True)
        return torch.cat([vicreg(a, b, covariance) for a, b in parts])
    invariance = (x - y).square().mean((1, 2))
    (variance_x, covariance_x), (variance_y, covariance_y) = (
        spread(z, covariance, unbiased=True) for z in (x, y)
    )
    return 25 * invariance + 12.5 * (variance_x + variance_y) + covariance_x + covariance_y


def spread(z: Tensor, covariance: Covariance, *, unbiased: bool) -> tuple[Tensor, Tensor]:
    """Variance and covariance of every strip [P] of z [P,L,D]; only the variance divides by L - `unbiased`."""
    centred = z - z.mean(1, keepdim=True)
    squares = centred.square().sum(1)
    deviation = torch.sqrt(squares / (z.shape[1] - unbiased) + 1e-4)
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
