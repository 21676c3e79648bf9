"""The torch operators refkp::e2p and refkp::e2p_backward: schema, fake implementation, autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from refkp.ops._backends import kernels
from refkp.ops.e2p.camera import make_cameras
from refkp.ops.e2p.checks import check_values


@torch.library.custom_op("refkp::e2p", mutates_args=())
def e2p(
    erp: Tensor,
    rotation: Tensor,
    image_index: Tensor,
    tangents_x: list[float],
    tangents_y: list[float],
    height: int,
    width: int,
    convention: str,
    mode: str,
    antialias: str,
    backend: str,
) -> Tensor:
    check_values(rotation, image_index, len(erp))
    cameras = make_cameras(
        (erp.shape[2], erp.shape[3]),
        rotation,
        image_index,
        tangents_x,
        tangents_y,
        (height, width),
        convention,
        antialias,
    )
    with torch.cuda.device_of(erp):  # Triton launches on the current device
        return kernels("e2p", backend).forward(
            erp, cameras, (height, width), convention == "equilib", mode == "nearest"
        )


@torch.library.custom_op("refkp::e2p_backward", mutates_args=())
def e2p_backward(
    grad_out: Tensor,
    rotation: Tensor,
    image_index: Tensor,
    tangents_x: list[float],
    tangents_y: list[float],
    num_images: int,
    erp_height: int,
    erp_width: int,
    convention: str,
    mode: str,
    antialias: str,
    backend: str,
) -> Tensor:
    size = (grad_out.shape[2], grad_out.shape[3])
    cameras = make_cameras(
        (erp_height, erp_width), rotation, image_index, tangents_x, tangents_y, size, convention, antialias
    )
    erp_shape = (num_images, grad_out.shape[1], erp_height, erp_width)
    with torch.cuda.device_of(grad_out):
        return kernels("e2p", backend).backward(
            grad_out, cameras, erp_shape, convention == "equilib", mode == "nearest"
        )


@e2p.register_fake
def _(erp: Tensor, rotation: Tensor, *options: Any) -> Tensor:
    dtype = erp.dtype if erp.is_floating_point() else torch.float32
    height, width = options[3:5]
    return erp.new_empty((rotation.shape[0], erp.shape[1], height, width), dtype=dtype)


@e2p_backward.register_fake
def _(grad_out: Tensor, *options: Any) -> Tensor:
    num_images, erp_height, erp_width = options[4:7]
    return grad_out.new_empty((num_images, grad_out.shape[1], erp_height, erp_width))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    erp, rotation, image_index, tangents_x, tangents_y, _, _, *options = inputs
    ctx.save_for_backward(rotation, image_index)
    ctx.arguments = (tangents_x, tangents_y, erp.shape[0], erp.shape[2], erp.shape[3], *options)


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    grad_erp = e2p_backward(grad_out, *ctx.saved_tensors, *ctx.arguments) if ctx.needs_input_grad[0] else None
    return grad_erp, *(None,) * 10


e2p.register_autograd(_backward, setup_context=_setup_context)
