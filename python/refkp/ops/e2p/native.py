"""e2p in C++: CPU tensors on the CPU kernels, CUDA tensors on the CUDA kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp import _native
from refkp.ops.e2p.camera import Cameras
from refkp.ops.e2p.fixed_point import gradient_scale


def forward(erp: Tensor, cameras: Cameras, size: tuple[int, int], equilib: bool, nearest: bool) -> Tensor:
    """Tiles [N,C,h,w] of images [B,C,H,W] of any strides."""
    dtype = erp.dtype if erp.is_floating_point() else torch.float32
    out = torch.empty((len(cameras.rays), erp.shape[1], *size), dtype=dtype, device=erp.device)
    if out.numel() == 0:
        return out
    geometry = _geometry(cameras, erp.shape, erp.stride(), size, equilib, nearest)
    extension = _native.extension()
    kernel = extension.e2p_cuda if erp.is_cuda else extension.e2p_cpu
    with torch.cuda.device_of(erp):
        kernel(erp.data_ptr(), out.data_ptr(), geometry, **_native.launch(erp))
    return out


def backward(
    grad_out: Tensor, cameras: Cameras, erp_shape: tuple[int, int, int, int], equilib: bool, nearest: bool
) -> Tensor:
    """The gradient [B,C,H,W] of the images."""
    grad_out = grad_out.contiguous()
    if grad_out.numel() == 0:
        return grad_out.new_zeros(erp_shape)
    grad_erp = grad_out.new_empty(erp_shape)
    geometry = _geometry(cameras, erp_shape, grad_erp.stride(), grad_out.shape[2:], equilib, nearest)
    extension = _native.extension()
    if not grad_out.is_cuda:
        extension.e2p_backward_cpu(grad_out.data_ptr(), grad_erp.data_ptr(), geometry, **_native.launch(grad_out))
        return grad_erp
    sums = torch.zeros(erp_shape, dtype=torch.int64, device=grad_out.device)
    scale = gradient_scale(grad_out)
    with torch.cuda.device_of(grad_out):
        extension.e2p_backward_cuda(
            grad_out.data_ptr(), grad_erp.data_ptr(), sums.data_ptr(), scale.data_ptr(), geometry, **_native.launch(grad_out)
        )
    return grad_erp


def _geometry(
    cameras: Cameras,
    erp_shape: tuple[int, ...],
    strides: tuple[int, ...],
    size: tuple[int, ...],
    equilib: bool,
    nearest: bool,
) -> object:
    num_images, num_channels, erp_height, erp_width = erp_shape
    return _native.extension().E2pGeometry(
        rays=cameras.rays.data_ptr(),
        samples=cameras.samples.data_ptr(),
        image_index=cameras.image_index.data_ptr(),
        sizes=(num_images, len(cameras.rays), num_channels, erp_height, erp_width, *size),
        strides=strides,
        equilib=equilib,
        nearest=nearest,
    )
