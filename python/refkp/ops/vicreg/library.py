"""vicreg as a torch.library op: schema, fake implementations and autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from refkp.ops._backends import kernels

_HALF = (torch.float16, torch.bfloat16)


@torch.library.custom_op("refkp::vicreg", mutates_args=())
def vicreg(
    x: Tensor, y: Tensor, offsets: Tensor | None, gamma: float, eps: float, unbiased: bool, backend: str
) -> Tensor:
    """Invariance, variance and covariance of every segment: [3,P]."""
    with torch.cuda.device_of(x):  # Triton launches on the current device
        return kernels("vicreg", backend).forward(x, y, offsets, gamma, eps, unbiased)


@torch.library.custom_op("refkp::vicreg_backward", mutates_args=())
def vicreg_backward(
    x: Tensor,
    y: Tensor,
    offsets: Tensor | None,
    weights: Tensor,
    gamma: float,
    eps: float,
    unbiased: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of sum(weights * terms), weights [3,P], with respect to x and y."""
    with torch.cuda.device_of(x):
        return kernels("vicreg", backend).backward(x, y, offsets, weights, gamma, eps, unbiased)


@vicreg.register_fake
def _(x: Tensor, y: Tensor, offsets: Tensor | None, *options: object) -> Tensor:
    num_segments = 1 if offsets is None else offsets.shape[0] - 1
    return x.new_empty((3, num_segments), dtype=torch.float32 if x.dtype in _HALF else x.dtype)


@vicreg_backward.register_fake
def _(x: Tensor, y: Tensor, *options: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(
        y, memory_format=torch.contiguous_format
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, y, offsets, *ctx.options = inputs
    ctx.save_for_backward(x, y, offsets)


def _backward(ctx: Any, weights: Tensor) -> tuple[Tensor | None, ...]:
    x, y, offsets = ctx.saved_tensors
    grad_x, grad_y = vicreg_backward(x, y, offsets, weights, *ctx.options)
    return grad_x, grad_y, None, None, None, None, None


vicreg.register_autograd(_backward, setup_context=_setup_context)
