"""equivariance_loss as a torch.library op: schema, fake implementation, autograd. `native` and `triton` share it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from refkp.ops._backends import kernels
from refkp.ops._theta import check_theta_values


@torch.library.custom_op("refkp::equivariance_loss", mutates_args=())
def equivariance_loss(
    maps: Tensor, maps_warped: Tensor, theta: Tensor, coverage: bool, backend: str
) -> tuple[Tensor, Tensor]:
    """The loss of every item [B] and its denominator [B] float64, which the backward pass needs."""
    check_theta_values("equivariance_loss", theta)
    with torch.cuda.device_of(maps):  # Triton launches on the current device
        loss, denominator = kernels("equivariance_loss", backend).forward(
            maps.contiguous(), maps_warped.contiguous(), theta.detach().double().contiguous(), coverage
        )
    return loss.to(maps.dtype), denominator


@torch.library.custom_op("refkp::equivariance_loss_backward", mutates_args=())
def equivariance_loss_backward(
    grad_item: Tensor, maps: Tensor, maps_warped: Tensor, theta: Tensor, coverage: bool, backend: str
) -> tuple[Tensor, Tensor]:
    """The gradients of both maps; grad_item [B] float64 is the gradient of the loss times 2 / denominator."""
    tensors = maps.contiguous(), maps_warped.contiguous(), theta.detach().double().contiguous()
    with torch.cuda.device_of(maps):
        return kernels("equivariance_loss", backend).backward(grad_item.contiguous(), *tensors, coverage)


@equivariance_loss.register_fake
def _(
    maps: Tensor, maps_warped: Tensor, theta: Tensor, coverage: bool, backend: str
) -> tuple[Tensor, Tensor]:
    return maps.new_empty(maps.shape[0]), maps.new_empty(maps.shape[0], dtype=torch.float64)


@equivariance_loss_backward.register_fake
def _(
    grad_item: Tensor, maps: Tensor, maps_warped: Tensor, theta: Tensor, coverage: bool, backend: str
) -> tuple[Tensor, Tensor]:
    return maps.new_empty(maps.shape), maps.new_empty(maps.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    maps, maps_warped, theta, ctx.coverage, ctx.backend = inputs
    ctx.save_for_backward(maps, maps_warped, theta, output[1])


def _backward(ctx: Any, grad_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    maps, maps_warped, theta, denominator = ctx.saved_tensors
    grad_item = torch.where(denominator == 0, 0.0, 2 * grad_loss.double() / denominator)
    grads = equivariance_loss_backward(grad_item, maps, maps_warped, theta, ctx.coverage, ctx.backend)
    return *grads, None, None, None


equivariance_loss.register_autograd(_backward, setup_context=_setup_context)
