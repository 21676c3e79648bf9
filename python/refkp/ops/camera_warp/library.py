"""The torch operators refkp::camera_warp and refkp::camera_warp_backward: schema, fake implementation, autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refkp.ops._backends import kernels
from refkp.ops.camera_warp.cameras import make_cameras
from refkp.ops.camera_warp.checks import check_values


@torch.library.custom_op("refkp::camera_warp", mutates_args=())
def camera_warp(
    image: Tensor,
    intrinsics: Tensor,
    distortion: Tensor,
    affine: Tensor,
    height: int,
    width: int,
    antialias: bool,
    fill: Sequence[float],
    backend: str,
) -> Tensor:
    check_values(intrinsics, distortion, affine)
    cameras = make_cameras(intrinsics, distortion, affine)
    with torch.cuda.device_of(image):  # Triton launches on the current device
        return kernels("camera_warp", backend).forward(image, cameras, (height, width), antialias, fill)


@torch.library.custom_op("refkp::camera_warp_backward", mutates_args=())
def camera_warp_backward(
    grad_out: Tensor,
    intrinsics: Tensor,
    distortion: Tensor,
    affine: Tensor,
    height: int,
    width: int,
    antialias: bool,
    backend: str,
) -> Tensor:
    """The gradient [B,C,height,width] of the image."""
    cameras = make_cameras(intrinsics, distortion, affine)
    with torch.cuda.device_of(grad_out):
        return kernels("camera_warp", backend).backward(grad_out, cameras, (height, width), antialias)


@camera_warp.register_fake
def _(image: Tensor, intrinsics: Tensor, distortion: Tensor, affine: Tensor, *options: Any) -> Tensor:
    height, width = options[:2]
    return image.new_empty(image.shape[0], image.shape[1], height, width)


@camera_warp_backward.register_fake
def _(grad_out: Tensor, intrinsics: Tensor, distortion: Tensor, affine: Tensor, *options: Any) -> Tensor:
    height, width = options[:2]
    return grad_out.new_empty(grad_out.shape[0], grad_out.shape[1], height, width)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, intrinsics, distortion, affine, _, _, antialias, _, backend = inputs
    ctx.save_for_backward(intrinsics, distortion, affine)
    ctx.arguments = (image.shape[2], image.shape[3], antialias, backend)


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
    wanted = ctx.needs_input_grad[0]
    grad_image = camera_warp_backward(grad_out, *ctx.saved_tensors, *ctx.arguments) if wanted else None
    return grad_image, *(None,) * 8


camera_warp.register_autograd(_backward, setup_context=_setup_context)
