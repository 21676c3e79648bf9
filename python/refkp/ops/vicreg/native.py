"""vicreg in C++ (CPU tensors) and CUDA C++ (CUDA tensors)."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp import _native
from refkp.ops.vicreg.segments import Plan, host_offsets, plan


def forward(x: Tensor, y: Tensor, offsets: Tensor | None, gamma: float, eps: float, unbiased: bool) -> Tensor:
    """Invariance, variance and covariance: [3,P]."""
    x, y = x.contiguous(), y.contiguous()
    extra = {}
    if x.is_cuda:
        segments = plan(x, offsets)
        bounds = segments.table[0]
        moments = _moments(x, segments)
        count = _native.extension().vicreg_partials(segments.num_segments, x.shape[1], segments.max_rows)
        partial = x.new_empty(count, dtype=torch.float64)
        extra["scratch"] = _scratch(segments, moments, partial=partial)
    else:
        bounds = host_offsets(x, offsets)  # named, since the problem holds its address only
    terms = x.new_empty(3, len(bounds) - 1, dtype=torch.promote_types(x.dtype, torch.float32))
    problem = _problem(x, y, bounds, gamma, eps, unbiased)
    _native.call("vicreg", x, problem=problem, terms=terms.data_ptr(), **extra)
    return terms


def backward(
    x: Tensor, y: Tensor, offsets: Tensor | None, weights: Tensor, gamma: float, eps: float, unbiased: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of sum(weights * terms) with respect to x and y."""
    x, y, weights = x.contiguous(), y.contiguous(), weights.contiguous()
    grad_x, grad_y = torch.empty_like(x), torch.empty_like(y)
    extra = {}
    if x.is_cuda:
        segments = plan(x, offsets)
        bounds = segments.table[0]
        moments = _moments(x, segments)
        gram = x.new_empty(2, segments.gram_elements, dtype=torch.float32)
        extra["scratch"] = _scratch(segments, moments, gram=gram)
    else:
        bounds = host_offsets(x, offsets)
    _native.call(
        "vicreg_backward",
        x,
        problem=_problem(x, y, bounds, gamma, eps, unbiased),
        weights=weights.data_ptr(),
        grad_x=grad_x.data_ptr(),
        grad_y=grad_y.data_ptr(),
        **extra,
    )
    return grad_x, grad_y


def _problem(x: Tensor, y: Tensor, bounds: Tensor, gamma: float, eps: float, unbiased: bool) -> object:
    return _native.extension().VICRegProblem(
        x=x.data_ptr(),
        y=y.data_ptr(),
        offsets=bounds.data_ptr(),
        num_segments=len(bounds) - 1,
        dim=x.shape[1],
        gamma=gamma,
        eps=eps,
        unbiased=unbiased,
    )


def _moments(x: Tensor, segments: Plan) -> Tensor:
    return x.new_empty(4, segments.num_segments, x.shape[1], dtype=torch.float32)


def _scratch(
    segments: Plan, moments: Tensor, *, partial: Tensor | None = None, gram: Tensor | None = None
) -> object:
    """Device memory for one pass: `partial` sums for the forward, `gram` matrices for the backward."""
    return _native.extension().VICRegScratch(
        moments=moments.data_ptr(),
        partial=0 if partial is None else partial.data_ptr(),
        gram=0 if gram is None else gram.data_ptr(),
        gram_offsets=segments.table[1].data_ptr(),
        max_rows=segments.max_rows,
    )
