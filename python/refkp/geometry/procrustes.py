"""Procrustes: the rotation, shift and scale that bring points onto others."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import require_trailing
from refkp.geometry.rotations import cross_matrix


class Similarity(NamedTuple):
    """y = scale R x + t."""

    scale: Tensor  # [...]
    R: Tensor  # [...,3,3], det 1
    t: Tensor  # [...,3]

    def apply(self, points: Tensor) -> Tensor:
        """The points [...,N,3], moved."""
        return self.scale[..., None, None] * (points @ self.R.mT) + self.t[..., None, :]


def align(source: Tensor, target: Tensor, weights: Tensor | None = None, *, scale: bool = True) -> Similarity:
    """The similarity, or rigid motion, with the least sum_n w_n |s R x_n + t - y_n|^2.

    R maximises tr(R^T M) of M = sum w (y - mean)(x - mean)^T over rotations, mirror images left out (Umeyama).
    The gradient of R is that of the implicit function theorem, finite also where singular values are equal.

    Args:
        source: x [...,N,3], float.
        target: y [...,N,3].
        weights: [...,N], at least 0; a point of weight 0 counts nowhere, NaN included. None: ones.
        scale: whether s is free; else it is 1.

    Returns:
        Similarity(scale [...], R [...,3,3], t [...,3]). Points on a line leave the turn about it open: one of
        the best is returned, and its gradient is not finite.

    Raises:
        ValueError: the last axes are not as above.

    Gradients reach all three inputs.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.

    >>> x = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> found = align(x, 2 * x + 1)
    >>> found.scale.round(decimals=4), found.t.round(decimals=4)
    (tensor(2.), tensor([1., 1., 1.]))
    """
    require_trailing("align", "source", source, "N,3")
    require_trailing("align", "target", target, f"{source.shape[-2]},3")
    if weights is None:
        weights = torch.ones_like(source[..., 0])
    require_trailing("align", "weights", weights, str(source.shape[-2]))
    counts = (weights > 0)[..., None]
    source, target = source.where(counts, 0.0), target.where(counts, 0.0)
    share = (weights / weights.sum(-1, keepdim=True))[..., None]
    mean_x, mean_y = (share * source).sum(-2), (share * target).sum(-2)
    x, y = source - mean_x[..., None, :], target - mean_y[..., None, :]
    M = (share * y).mT @ x
    R = nearest_rotation(M)
    stretch = (R * M).sum((-2, -1)) / (share * x.square()).sum((-2, -1))
    factor = stretch if scale else torch.ones_like(stretch)
    return Similarity(factor, R, mean_y - factor[..., None] * (R @ mean_x[..., None])[..., 0])


def nearest_rotation(M: Tensor) -> Tensor:
    """The rotation with the largest tr(R^T M); its derivative from the symmetry of R^T M.

    With S = R^T M and a turn R exp([w]x), the axial part of exp(-[w]x) S stays 0: (tr S - S) w = axial(S - S^T).
    """
    with torch.no_grad():
        U, _, Vh = torch.linalg.svd(M)
        sign = torch.ones_like(M[..., 0])
        sign[..., 2] = torch.linalg.det(U @ Vh).sign()
        R = (U * sign[..., None, :]) @ Vh
    if not M.requires_grad:
        return R
    S = R.mT @ M
    symmetric = ((S + S.mT) / 2).detach()
    identity = torch.eye(3, dtype=M.dtype, device=M.device)
    left = symmetric.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None] * identity - symmetric
    skew = S - S.mT
    axial = torch.stack((skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]), dim=-1)
    turn = torch.linalg.solve(left, axial - axial.detach())
    return R + R @ cross_matrix(turn)
