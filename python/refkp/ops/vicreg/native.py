"""vicreg through the compiled extension: C++ for CPU tensors, CUDA C++ for CUDA tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp import _native
from refkp.ops.vicreg.segments import Plan, host_offsets, plan


def forward(x: Tensor, y: Tensor, offsets: Tensor | None, gamma: float, eps: float, unbiased: bool) -> Tensor:
    """Invariance, variance and covariance: [3,P]."""
    x, y = x.contiguous(), y.contiguous()
    if x.is_cuda:
        return _forward_cuda(x, y, plan(x, offsets), gamma, eps, unbiased)
    host = host_offsets(x, offsets)
    terms = x.new_empty(3, host.shape[0] - 1)
    problem, launch = _problem(x, y, host, gamma, eps, unbiased)
    _native.extension().vicreg_cpu(problem=problem, terms=terms.data_ptr(), **launch)
    return terms


def backward(
    x: Tensor, y: Tensor, offsets: Tensor | None, weights: Tensor, gamma: float, eps: float, unbiased: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of sum(weights * terms) with respect to x and y."""
    x, y, weights = x.contiguous(), y.contiguous(), weights.contiguous()
    if x.is_cuda:
        return _backward_cuda(x, y, plan(x, offsets), weights, gamma, eps, unbiased)
    grad_x, grad_y = torch.empty_like(x), torch.empty_like(y)
    host = host_offsets(x, offsets)  # named, since the problem holds its address only
    problem, launch = _problem(x, y, host, gamma, eps, unbiased)
    _native.extension().vicreg_backward_cpu(
        problem=problem,
        weights=weights.data_ptr(),
        grad_x=grad_x.data_ptr(),
        grad_y=grad_y.data_ptr(),
        **launch,
    )
    return grad_x, grad_y


def _forward_cuda(x: Tensor, y: Tensor, segments: Plan, gamma: float, eps: float, unbiased: bool) -> Tensor:
    extension, dim = _native.extension(), x.shape[1]
    terms = x.new_empty(3, segments.num_segments, dtype=torch.float32)
    moments = x.new_empty(4, segments.num_segments, dim, dtype=torch.float32)
    count = extension.vicreg_partials(segments.num_segments, dim, segments.max_rows)
    partial = x.new_empty(count, dtype=torch.float64)
    with torch.cuda.device(x.device):
        problem, launch = _problem(x, y, segments.table[0], gamma, eps, unbiased)
        scratch = extension.VICRegScratch(
            moments=moments.data_ptr(),
            partial=partial.data_ptr(),
            gram=0,
            gram_offsets=segments.table[1].data_ptr(),
            max_rows=segments.max_rows,
        )
        extension.vicreg_cuda(problem=problem, scratch=scratch, terms=terms.data_ptr(), **launch)
    return terms


def _backward_cuda(
    x: Tensor, y: Tensor, segments: Plan, weights: Tensor, gamma: float, eps: float, unbiased: bool
) -> tuple[Tensor, Tensor]:
    extension = _native.extension()
    grad_x, grad_y = torch.empty_like(x), torch.empty_like(y)
    moments = x.new_empty(4, segments.num_segments, x.shape[1], dtype=torch.float32)
    gram = x.new_empty(2, segments.gram_elements, dtype=torch.float32)
    with torch.cuda.device(x.device):
        problem, launch = _problem(x, y, segments.table[0], gamma, eps, unbiased)
        scratch = extension.VICRegScratch(
            moments=moments.data_ptr(),
            partial=0,
            gram=gram.data_ptr(),
            gram_offsets=segments.table[1].data_ptr(),
            max_rows=segments.max_rows,
        )
        extension.vicreg_backward_cuda(
            problem=problem,
            scratch=scratch,
            weights=weights.data_ptr(),
            grad_x=grad_x.data_ptr(),
            grad_y=grad_y.data_ptr(),
            **launch,
        )
    return grad_x, grad_y


def _problem(
    x: Tensor, y: Tensor, offsets: Tensor, gamma: float, eps: float, unbiased: bool
) -> tuple[object, dict[str, object]]:
    """The problem, and the launch arguments besides it: threads or stream."""
    launch = _native.launch(x)
    problem = _native.extension().VICRegProblem(
        x=x.data_ptr(),
        y=y.data_ptr(),
        offsets=offsets.data_ptr(),
        num_segments=offsets.shape[0] - 1,
        dim=x.shape[1],
        gamma=gamma,
        eps=eps,
        unbiased=unbiased,
        dtype=launch.pop("dtype"),
    )
    return problem, launch
