"""affine_warp in C++ (CPU tensors) and CUDA C++ (CUDA tensors). Inputs are checked and contiguous, theta float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp import _native
from refkp.ops.affine_warp.arguments import WarpGradient


def forward(
    image: Tensor, theta: Tensor, size: Sequence[int], inverse: bool, fill: Sequence[float]
) -> Tensor:
    out = image.new_empty(image.shape[0], image.shape[1], size[0], size[1])
    fills = _fill_tensor(fill, image)
    _native.call(
        "affine_warp",
        image,
        image=image.data_ptr(),
        theta=theta.data_ptr(),
        inverse=inverse,
        fill=fills.data_ptr(),
        shape=_shape(image, size),
        out=out.data_ptr(),
    )
    return out


def backward(gradient: WarpGradient) -> tuple[Tensor, Tensor]:
    grad_out, image, theta, inverse, fill, needs_image, needs_theta = gradient
    grad_image = torch.empty_like(image) if needs_image else image.new_empty(0)
    grad_theta = torch.empty_like(theta) if needs_theta else theta.new_empty(0)
    fills = _fill_tensor(fill, image)
    shape = _shape(image, grad_out.shape[2:])
    extra = {}
    if image.is_cuda:
        count = _native.extension().affine_warp_partials(shape) if needs_theta else 0
        workspace = theta.new_empty(count)
        extra["workspace"] = workspace.data_ptr()
    _native.call(
        "affine_warp_backward",
        image,
        grad_out=grad_out.data_ptr(),
        image=image.data_ptr(),
        theta=theta.data_ptr(),
        inverse=inverse,
        fill=fills.data_ptr(),
        shape=shape,
        grad_image=grad_image.data_ptr(),
        grad_theta=grad_theta.data_ptr(),
        **extra,
    )
    return grad_image, grad_theta


def _shape(image: Tensor, size: Sequence[int]) -> object:
    return _native.extension().AffineWarpShape(*image.shape, *size)


def _fill_tensor(fill: Sequence[float], image: Tensor) -> Tensor:
    """[C] float64, or empty (a null pointer) where nothing is blended."""
    return torch.tensor(fill, dtype=torch.float64, device=image.device)
