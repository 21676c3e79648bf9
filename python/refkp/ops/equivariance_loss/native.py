"""equivariance_loss in C++ (CPU tensors) and CUDA C++ (CUDA tensors). Inputs are checked, contiguous, theta float64."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp import _native


def forward(maps: Tensor, maps_warped: Tensor, theta: Tensor, coverage: bool) -> tuple[Tensor, Tensor]:
    shape = _native.extension().EquivarianceShape(*maps.shape)
    loss, denominator = theta.new_empty(len(maps)), theta.new_empty(len(maps))
    extra = {}
    if maps.is_cuda:
        workspace = theta.new_empty(_native.extension().equivariance_loss_partials(shape))
        extra["workspace"] = workspace.data_ptr()
    _native.call(
        "equivariance_loss",
        maps,
        maps=maps.data_ptr(),
        maps_warped=maps_warped.data_ptr(),
        theta=theta.data_ptr(),
        coverage=coverage,
        shape=shape,
        loss=loss.data_ptr(),
        denominator=denominator.data_ptr(),
        **extra,
    )
    return loss, denominator


def backward(
    grad_item: Tensor, maps: Tensor, maps_warped: Tensor, theta: Tensor, coverage: bool
) -> tuple[Tensor, Tensor]:
    grad_maps, grad_maps_warped = torch.empty_like(maps), torch.empty_like(maps)
    extra = {}
    if maps.is_cuda:
        workspace = torch.empty_like(maps)
        extra["workspace"] = workspace.data_ptr()
    _native.call(
        "equivariance_loss_backward",
        maps,
        maps=maps.data_ptr(),
        maps_warped=maps_warped.data_ptr(),
        theta=theta.data_ptr(),
        coverage=coverage,
        grad_item=grad_item.data_ptr(),
        shape=_native.extension().EquivarianceShape(*maps.shape),
        grad_maps=grad_maps.data_ptr(),
        grad_maps_warped=grad_maps_warped.data_ptr(),
        **extra,
    )
    return grad_maps, grad_maps_warped
