"""camera_warp in C++ (CPU tensors) and CUDA C++ (CUDA tensors); cameras as `make_cameras` has them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp import _native
from refkp.ops._fixed_point import gradient_scale


def forward(
    image: Tensor, cameras: Tensor, size: tuple[int, int], antialias: bool, fill: Sequence[float]
) -> Tensor:
    """[B,C,h,w] from images [B,C,H,W] of any strides."""
    out = image.new_empty(image.shape[0], image.shape[1], *size)
    if out.numel() == 0:
        return out
    fills = torch.tensor(fill, dtype=torch.float64, device=image.device)
    problem = _problem(image.shape, image.stride(), size, cameras, fills, antialias)
    _native.call("camera_warp", image, image=image.data_ptr(), problem=problem, out=out.data_ptr())
    return out


def backward(grad_out: Tensor, cameras: Tensor, in_size: tuple[int, int], antialias: bool) -> Tensor:
    """The gradient [B,C,H,W] of the images."""
    grad_out = grad_out.contiguous()
    grad_image = grad_out.new_empty(*grad_out.shape[:2], *in_size)
    if grad_image.numel() == 0:
        return grad_image
    problem = _problem(
        grad_image.shape, grad_image.stride(), grad_out.shape[2:], cameras, cameras.new_empty(0), antialias
    )
    addresses = {"grad_out": grad_out.data_ptr(), "problem": problem, "grad_image": grad_image.data_ptr()}
    if not grad_out.is_cuda:
        _native.call("camera_warp_backward", grad_out, **addresses)
        return grad_image
    sums = torch.zeros(grad_image.numel(), dtype=torch.int64, device=grad_out.device)
    scale = gradient_scale(grad_out)
    _native.call("camera_warp_backward", grad_out, sums=sums.data_ptr(), scale=scale.data_ptr(), **addresses)
    return grad_image


def _problem(
    shape: Sequence[int],
    strides: Sequence[int],
    size: Sequence[int],
    cameras: Tensor,
    fills: Tensor,
    antialias: bool,
) -> object:
    return _native.extension().CameraWarpProblem(
        cameras=cameras.data_ptr(),
        fill=fills.data_ptr(),
        sizes=(*shape, *size),
        strides=tuple(strides),
        antialias=antialias,
    )
