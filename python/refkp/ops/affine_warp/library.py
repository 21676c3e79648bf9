"""affine_warp as a torch.library op: schema, fake implementation, autograd. `native` and `triton` share it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refkp.ops._backends import kernels
from refkp.ops._theta import check_theta_values
from refkp.ops.affine_warp.arguments import WarpGradient


@torch.library.custom_op("refkp::affine_warp", mutates_args=())
def affine_warp(
    image: Tensor, theta: Tensor, size: Sequence[int], inverse: bool, fill: Sequence[float], backend: str
) -> Tensor:
    check_theta_values("affine_warp", theta)
    with torch.cuda.device_of(image):  # Triton launches on the current device
        return kernels("affine_warp", backend).forward(
            image.contiguous(), theta.detach().double().contiguous(), size, inverse, fill
        )


@torch.library.custom_op("refkp::affine_warp_backward", mutates_args=())
def affine_warp_backward(
    grad_out: Tensor,
    image: Tensor,
    theta: Tensor,
    inverse: bool,
    fill: Sequence[float],
    needs_image: bool,
    needs_theta: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """The gradients of image and theta; one that is not needed comes back empty."""
    with torch.cuda.device_of(image):
        grad_image, grad_theta = kernels("affine_warp", backend).backward(
            WarpGradient(
                grad_out.contiguous(),
                image.contiguous(),
                theta.detach().double().contiguous(),
                inverse,
                fill,
                needs_image,
                needs_theta,
            )
        )
    return grad_image, grad_theta.to(theta.dtype)


@affine_warp.register_fake
def _(
    image: Tensor, theta: Tensor, size: Sequence[int], inverse: bool, fill: Sequence[float], backend: str
) -> Tensor:
    return image.new_empty(image.shape[0], image.shape[1], size[0], size[1])


@affine_warp_backward.register_fake
def _(grad_out: Tensor, image: Tensor, theta: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    _, _, needs_image, needs_theta, _ = options
    grad_image = (
        torch.empty_like(image, memory_format=torch.contiguous_format) if needs_image else image.new_empty(0)
    )
    return grad_image, theta.new_empty(theta.shape if needs_theta else (0,))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, theta, _, ctx.inverse, ctx.fill, ctx.backend = inputs
    ctx.save_for_backward(image, theta)


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    image, theta = ctx.saved_tensors
    needs_image, needs_theta = ctx.needs_input_grad[:2]
    grad_image, grad_theta = affine_warp_backward(
        grad_out, image, theta, ctx.inverse, ctx.fill, needs_image, needs_theta, ctx.backend
    )
    return grad_image if needs_image else None, grad_theta if needs_theta else None, None, None, None, None


affine_warp.register_autograd(_backward, setup_context=_setup_context)
