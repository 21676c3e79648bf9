"""Linear algebra that neither raises nor loses precision inside a training step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

#: What a factorisation that fails is tried with again: parts of the mean diagonal element added to it.
JITTERS = (1e-6, 1e-3)

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that must not be cast to half precision by an autocast region around it."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            return function(*args, **kwargs)

    return run


def stable_cholesky(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Lower Cholesky factors that never raise.

    A matrix that cannot be factorised is tried again with `JITTERS` of its mean diagonal element added; if
    that fails too, its factor is the identity, and the matrix gets no gradient.

    Args:
        matrix: [...,d,d], float, symmetric.

    Returns:
        The factors [...,d,d], and which of them failed, bool [...].

    >>> factor, failed = stable_cholesky(torch.stack((4 * torch.eye(2), -torch.eye(2))))
    >>> factor[0].diagonal(), failed
    (tensor([2., 2.]), tensor([False,  True]))
    """
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    with torch.no_grad():
        mean = matrix.diagonal(dim1=-2, dim2=-1).mean(-1)
        jitter = torch.zeros_like(mean)
        failed = _fails(matrix)
        for part in JITTERS:
            if not bool(failed.any()):
                break
            jitter = torch.where(failed, part * mean, jitter)
            failed = _fails(matrix + jitter[..., None, None] * identity)
        jitter = torch.where(failed, torch.zeros_like(jitter), jitter)
    positive = torch.where(failed[..., None, None], identity, matrix + jitter[..., None, None] * identity)
    return torch.linalg.cholesky_ex(positive).L, failed


def _fails(matrix: Tensor) -> Tensor:
    """Which matrices have no finite Cholesky factor; non-finite matrices are kept from the factorisation."""
    finite = torch.isfinite(matrix).all(-1).all(-1)
    factor, info = torch.linalg.cholesky_ex(torch.where(finite[..., None, None], matrix, 0.0))
    return ~finite | (info != 0) | ~torch.isfinite(factor).all(-1).all(-1)
