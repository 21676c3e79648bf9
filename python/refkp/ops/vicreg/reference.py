"""The terms as they are defined: one segment at a time, with the D x D covariance matrix."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from refkp.ops.vicreg.segments import host_offsets


def vicreg(x: Tensor, y: Tensor, offsets: Tensor | None, gamma: float, eps: float, unbiased: bool) -> Tensor:
    """Invariance, variance and covariance of every segment: [3,P]. Half precision is computed in float32."""
    if x.dtype in (torch.float16, torch.bfloat16):
        x, y = x.float(), y.float()
    bounds = [0, len(x)] if offsets is None else host_offsets(x, offsets).tolist()
    if len(bounds) == 1:
        return x.new_zeros(3, 0) + _zero(x, y)
    segments = [
        _segment_terms(x[begin:end], y[begin:end], gamma, eps, unbiased)
        for begin, end in itertools.pairwise(bounds)
    ]
    return torch.stack(segments, dim=1)


def _segment_terms(x: Tensor, y: Tensor, gamma: float, eps: float, unbiased: bool) -> Tensor:
    n, dim = x.shape
    nothing = _zero(x, y)
    if n == 0 or dim == 0:
        return torch.stack([nothing, nothing, nothing])
    invariance = (x - y).square().mean()
    if n == 1:
        return torch.stack([invariance, nothing, nothing])
    variance = (_variance(x, gamma, eps, unbiased) + _variance(y, gamma, eps, unbiased)) / 2
    return torch.stack([invariance, variance, _covariance(x) + _covariance(y)])


def _zero(x: Tensor, y: Tensor) -> Tensor:
    """A zero that depends on x and y, with zero gradient."""
    return 0 * (x.sum() + y.sum()).nan_to_num()


def _variance(z: Tensor, gamma: float, eps: float, unbiased: bool) -> Tensor:
    deviation = torch.sqrt(z.var(dim=0, correction=1 if unbiased else 0) + eps)
    return torch.relu(gamma - deviation).mean()


def _covariance(z: Tensor) -> Tensor:
    n, dim = z.shape
    centred = z - z.mean(dim=0)
    matrix = centred.T @ centred / (n - 1)
    off_diagonal = matrix - torch.diag(matrix.diagonal())
    return off_diagonal.square().sum() / dim
