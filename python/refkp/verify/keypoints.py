"""Adapters of the keypoint system: affine maps, warps and the equivariance loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.geometry.affine import affine_theta
from refkp.ops import affine_warp, equivariance_loss
from refkp.verify.gradients import leaf, projected_gradients, scalar_gradients
from refkp.verify.registry import adapter


@adapter("keypoints", "affine_theta")
def _affine_theta(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    theta = affine_theta(arrays["in_angle_deg"], arrays["in_scale"], arrays["in_translate"])
    return {"out_theta": theta}


@adapter("keypoints", "affine_forward_inverse", op="affine_warp")
def _affine_forward_inverse(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    image, maps, theta = leaf(arrays["in_img"]), leaf(arrays["in_maps"]), arrays["in_theta"]
    forward = affine_warp(image, theta, backend=backend)
    inverse = affine_warp(maps, theta, inverse=True, backend=backend)
    return {
        "out_forward": forward,
        "out_inverse": inverse,
        "out_inverse_of_ones": _coverage(maps, theta, inverse=True, backend=backend),
        "out_roundtrip_img": affine_warp(forward, theta, inverse=True, backend=backend),
        **projected_gradients([(forward, arrays.get("in_proj_forward"))], {"out_grad_img": image}),
        **projected_gradients([(inverse, arrays.get("in_proj_inverse"))], {"out_grad_maps": maps}),
    }


@adapter("keypoints", "affine_warp", op="affine_warp")
def _affine_warp(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    maps, theta = leaf(arrays["in_maps"]), leaf(arrays["in_theta"])
    results: dict[str, Any] = {}
    for name, short, inverse in (("forward", "fwd", False), ("inverse", "inv", True)):
        warped = affine_warp(maps, theta, inverse=inverse, backend=backend)
        results[f"out_{name}"] = warped
        results[f"out_valid_{short}"] = _coverage(maps, theta, inverse=inverse, backend=backend)
        inputs = {f"out_grad_maps_{short}": maps, f"out_grad_theta_{short}": theta}
        results |= projected_gradients([(warped, arrays.get(f"in_proj_{short}"))], inputs)
    return results


@adapter("keypoints", "warp_with_fill", op="affine_warp")
def _warp_with_fill(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    image, theta = leaf(arrays["in_img"]), arrays["in_theta"]
    warped = affine_warp(image, theta, fill=params["fill"], backend=backend)
    constant = image.new_tensor(params["fill"]).reshape(-1, 1, 1).expand_as(image)
    return {
        "out_out": warped,
        "out_out_of_constant": affine_warp(constant, theta, fill=params["fill"], backend=backend),
        **projected_gradients([(warped, arrays.get("in_proj"))], {"out_grad_img": image}),
    }


@adapter("keypoints", "equivariance_loss", op="equivariance_loss")
def _equivariance_loss(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    index = arrays["in_index"].reshape(-1)
    maps, theta = leaf(arrays["in_maps"]), arrays["in_theta"][index]
    transformed = leaf(arrays["in_maps_transformed"][arrays["in_index"]])
    batch = transformed.reshape(-1, *maps.shape[-3:])
    loss = equivariance_loss(maps.expand_as(batch), batch, theta, backend=backend)
    inputs = {"out_grad_maps": maps, "out_grad_maps_transformed": transformed}
    return {"out_loss": loss, **scalar_gradients(loss, inputs)}


@adapter("keypoints", "masked_equivariance", op="equivariance_loss")
def _masked_equivariance(
    params: Mapping[str, Any], arrays: Mapping[str, Tensor], backend: str | None
) -> dict[str, Any]:
    maps, transformed = leaf(arrays["in_maps"]), leaf(arrays["in_maps_transformed"])
    theta = arrays["in_theta"]
    batch = (len(theta), *maps.shape[-3:])
    plain, warped = maps.reshape(batch), transformed.reshape(batch)
    loss = equivariance_loss(plain, warped, theta, coverage=True, backend=backend)
    coverage = _coverage(plain, theta, inverse=True, backend=backend)
    inputs = {"out_grad_maps": maps, "out_grad_maps_transformed": transformed}
    return {
        "out_loss": loss,
        "out_coverage": coverage.reshape(*maps.shape[:-3], *maps.shape[-2:]),
        **scalar_gradients(loss, inputs),
    }


def _coverage(maps: Tensor, theta: Tensor, *, inverse: bool, backend: str | None) -> Tensor:
    """The warp of ones, [B,1,H,W]."""
    return affine_warp(torch.ones_like(maps[:, :1]), theta, inverse=inverse, backend=backend)
