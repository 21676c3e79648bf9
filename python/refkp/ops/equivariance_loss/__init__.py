"""Equivariance of maps under affine warps, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import refuse_tangents, require_choice, require_input, require_same
from refkp.ops import _theta
from refkp.ops._backends import choose_backend
from refkp.ops.equivariance_loss import library, reference


def equivariance_loss(
    maps: Tensor,
    maps_warped: Tensor,
    theta: Tensor,
    *,
    coverage: bool = False,
    reduction: str = "mean",
    backend: str | None = None,
) -> Tensor:
    """Mean squared difference between maps and the maps of the warped images, taken back.

    With ``B' = warp(maps_warped, theta^-1)`` and its coverage W: ``mean over k,p of (A - B')^2``, or, with `coverage`,
    ``sum over k,p of (W A - B')^2 / (K sum over p of W)``, which leaves out pixels that never had a source.

    Convention: theta as in `affine_warp` (output to input, normalised, ``align_corners=False``): `maps_warped` are the
    maps of ``affine_warp(image, theta)``. Outside the frame B' is zero, and without `coverage` that counts.

    Args:
        maps: A [B,K,H,W] of the plain images, float32 or float64; also float16 and bfloat16 on CUDA.
        maps_warped: A' [B,K,H,W] of the images warped by `theta`; dtype and device of `maps`.
        theta: [B,2,3] floating, finite and invertible; used in float64.
        coverage: weigh every pixel by the share of it that came back into the frame. An item of which nothing came
            back has loss 0.
        reduction: "mean" for a scalar, "none" for one value an item, [B].
        backend: "native", "triton", "reference", or None for the fastest that supports the call.

    Returns:
        A scalar or [B], of order one for maps of order one, with the dtype of `maps`; sums run in float64.

    Raises:
        ValueError: for a bad shape, dtype, device, option, or a theta that is not finite or singular (on CUDA values
            are not read back; there a theta that is not finite gives NaN).
        NotImplementedError: for a theta that requires a gradient, or forward mode (`torch.func.jvp`), in `native` and
            `triton`, or a named backend that cannot run the call.

    Gradients reach `maps` and `maps_warped`, bitwise repeatable; with the reference backend also `theta`.

    Source: spec keypoints 5.3, 5.4, 9.3; E. Hedlin et al., Unsupervised Keypoints from Pretrained Diffusion Models,
    CVPR 2024.

    >>> import torch
    >>> maps = torch.rand(2, 3, 8, 8)
    >>> identity = torch.eye(3)[:2].expand(2, 2, 3)
    >>> float(equivariance_loss(maps, maps, identity))
    0.0
    """
    require_input("equivariance_loss", "maps", maps, "B,K,H,W")
    B, K, H, W = maps.shape
    require_input("equivariance_loss", "maps_warped", maps_warped, "B,K,H,W", B=B, K=K, H=H, W=W)
    require_same("equivariance_loss", "maps_warped", maps_warped, "maps", maps)
    _theta.check_plane("equivariance_loss", "maps", maps.shape[2:])
    _theta.check_theta("equivariance_loss", theta, "maps", maps)
    require_choice("equivariance_loss", "reduction", reduction, ("mean", "none"))
    backend = choose_backend("equivariance_loss", backend, maps.device, maps.dtype)
    if backend == "reference":
        losses = reference.equivariance_loss(maps, maps_warped, theta, bool(coverage))
    else:
        tensors = {"maps": maps, "maps_warped": maps_warped, "theta": theta}
        refuse_tangents("equivariance_loss", "Use backend='reference'.", **tensors)
        if theta.requires_grad and torch.is_grad_enabled():
            raise NotImplementedError(
                f"equivariance_loss: backend {backend!r} has no gradient for `theta`. "
                "Detach it, or use backend='reference'."
            )
        losses, _ = library.equivariance_loss(maps, maps_warped, theta, bool(coverage), backend)
    return losses.mean() if reduction == "mean" else losses
