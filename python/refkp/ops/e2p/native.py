"""e2p in C++: CPU tensors on the CPU kernels, CUDA tensors on the CUDA kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp import _native
from refkp.ops._fixed_point import gradient_scale
from refkp.ops.e2p.camera import Cameras, pyramid_elements


def forward(erp: Tensor, cameras: Cameras, size: tuple[int, int], equilib: bool, nearest: bool) -> Tensor:
    """Tiles [N,C,h,w] of images [B,C,H,W] of any strides."""
    dtype = erp.dtype if erp.is_floating_point() else torch.float32
    out = torch.empty((len(cameras.rays), erp.shape[1], *size), dtype=dtype, device=erp.device)
    if out.numel() == 0:
        return out
    geometry = _geometry(cameras, erp.shape, erp.stride(), size, equilib, nearest)
    pyramid_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    pyramid = erp.new_empty(pyramid_elements(erp.shape, cameras.num_levels), dtype=pyramid_dtype)
    addresses = {"erp": erp.data_ptr(), "pyramid": pyramid.data_ptr(), "geometry": geometry}
    if cameras.num_levels > 0:
        _native.call("e2p_pyramid", erp, **addresses)
    _native.call("e2p", erp, **addresses, out=out.data_ptr())
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
    arguments = {"grad_out": grad_out.data_ptr(), "geometry": geometry, "grad_erp": grad_erp.data_ptr()}
    elements = pyramid_elements(erp_shape, cameras.num_levels)
    if not grad_out.is_cuda:
        grad_pyramid = grad_out.new_empty(elements)
        _native.call("e2p_backward", grad_out, grad_pyramid=grad_pyramid.data_ptr(), **arguments)
        return grad_erp
    sums = torch.zeros(grad_erp.numel() + elements, dtype=torch.int64, device=grad_out.device)
    scale = gradient_scale(grad_out)
    _native.call("e2p_backward", grad_out, sums=sums.data_ptr(), scale=scale.data_ptr(), **arguments)
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
        grid=cameras.grid.data_ptr(),
        samples=cameras.samples.data_ptr(),
        image_index=cameras.image_index.data_ptr(),
        sizes=(num_images, len(cameras.rays), num_channels, erp_height, erp_width, *size),
        strides=strides,
        num_levels=cameras.num_levels,
        centre=cameras.centre,
        equilib=equilib,
        nearest=nearest,
    )
