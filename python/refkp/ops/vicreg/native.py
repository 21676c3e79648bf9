"""vicreg through the compiled extension: C++ for CPU tensors, CUDA C++ for CUDA tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp import _native
from refkp.ops.vicreg.segments import host_offsets


def forward(x: Tensor, y: Tensor, offsets: Tensor | None, gamma: float, eps: float, unbiased: bool) -> Tensor:
    """Terms [3,P]."""
    x, y = x.contiguous(), y.contiguous()
    host = host_offsets(x, offsets)
    terms = x.new_empty(3, host.shape[0] - 1)
    launch = _native.launch(x)
    problem = _problem(x, y, host, gamma, eps, unbiased, launch.pop("dtype"))
    _native.extension().vicreg_cpu(problem=problem, terms=terms.data_ptr(), **launch)
    return terms


def backward(
    x: Tensor, y: Tensor, offsets: Tensor | None, weights: Tensor, gamma: float, eps: float, unbiased: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of sum(weights * terms) with respect to x and y."""
    x, y, weights = x.contiguous(), y.contiguous(), weights.contiguous()
    grad_x, grad_y = torch.empty_like(x), torch.empty_like(y)
    host = host_offsets(x, offsets)
    launch = _native.launch(x)
    problem = _problem(x, y, host, gamma, eps, unbiased, launch.pop("dtype"))
    _native.extension().vicreg_backward_cpu(
        problem=problem,
        weights=weights.data_ptr(),
        grad_x=grad_x.data_ptr(),
        grad_y=grad_y.data_ptr(),
        **launch,
    )
    return grad_x, grad_y


def _problem(
    x: Tensor, y: Tensor, offsets: Tensor, gamma: float, eps: float, unbiased: bool, dtype: object
) -> object:
    return _native.extension().VICRegProblem(
        x=x.data_ptr(),
        y=y.data_ptr(),
        offsets=offsets.data_ptr(),
        num_segments=offsets.shape[0] - 1,
        dim=x.shape[1],
        gamma=gamma,
        eps=eps,
        unbiased=unbiased,
        dtype=dtype,
    )
