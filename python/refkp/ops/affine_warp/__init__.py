"""Batched bilinear affine warp."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from refkp._checks import height_and_width, refuse_tangents, require_choice, require_input
from refkp.ops import _theta
from refkp.ops._backends import choose_backend
from refkp.ops._fill import fill_values
from refkp.ops.affine_warp import library, reference


def affine_warp(
    image: Tensor,
    theta: Tensor,
    *,
    size: Sequence[int] | None = None,
    inverse: bool = False,
    padding: str = "zeros",
    fill: float | Iterable[float] = 0.0,
    backend: str | None = None,
) -> Tensor:
    """Warp a batch of images by one affine map each, sampling bilinearly.

    ``out[b,:,i,j] = image[b] at theta[b] @ (x_j, y_i, 1)`` with ``x_j = (2j+1)/w - 1``, ``y_i = (2i+1)/h - 1``.

    Convention: theta maps output to input in normalised coordinates, x over the width first, pixel centres at +0.5 and
    the image spanning [-1,1] (``align_corners=False``), as `affine_grid` in torch. A scale below 1 magnifies; tx > 0
    moves the content left. For non-square images a rotation in normalised coordinates shears in pixels.

    Args:
        image: [B,C,H,W] float32 or float64; also float16 and bfloat16 on CUDA, computed in float32.
        theta: [B,2,3] floating, finite and invertible, on the device of `image`; used in float64.
        size: (h, w) of the output; by default that of `image`.
        inverse: warp by the inverse of theta as an affine map, so that content returns to where it was.
        padding: "zeros", the value of pixels outside before `fill` is blended in.
        fill: value outside, one number or one per channel: the result is ``warp(image - fill) + fill``, so that
            border pixels blend smoothly. Not differentiated.
        backend: "native", "triton", "reference", or None for the fastest that supports the call.

    Returns:
        [B,C,h,w] with the dtype of `image`. In `native` and `triton` the identity and mirror maps are exact copies.

    Raises:
        ValueError: for a bad shape, dtype, device, size, or a theta that is not finite or singular. On CUDA values of
            theta are not read back; there a theta that is not finite gives NaN.
        NotImplementedError: for a padding other than "zeros", a named backend that cannot run the call, or forward
            mode in `native` and `triton`.

    A pixel is the sum of its four neighbours by their weights; one of weight 0 does not count, be it NaN or infinite.

    Gradients reach `image` and `theta`; both are bitwise repeatable. The bilinear surface has a kink in every row and
    column of pixel centres: there the gradient of `theta` is the one-sided derivative towards growing x and y of the
    image. Second derivatives and forward mode (`torch.func.jvp`) in `reference` alone; elsewhere they raise.

    Source: spec keypoints 2.1, 9.3; M. Jaderberg et al., Spatial Transformer Networks, 2015.

    >>> import torch
    >>> image = torch.arange(4.0).reshape(1, 1, 1, 4)
    >>> mirror = torch.tensor([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> affine_warp(image, mirror).flatten().tolist()
    [3.0, 2.0, 1.0, 0.0]
    """
    require_input("affine_warp", "image", image, "B,C,H,W")
    _theta.check_theta("affine_warp", theta, "image", image)
    size = tuple(image.shape[2:]) if size is None else height_and_width("affine_warp", "size", size)
    _theta.check_plane("affine_warp", "image", image.shape[2:])
    _theta.check_plane("affine_warp", "size", size)
    _check_padding(padding)
    fills = fill_values("affine_warp", fill, image.shape[1])
    backend = choose_backend("affine_warp", backend, image.device, image.dtype)
    if backend == "reference":
        return reference.affine_warp(image, theta, size, bool(inverse), fills)
    refuse_tangents("affine_warp", "Use backend='reference'.", image=image, theta=theta)
    return library.affine_warp(image, theta, size, bool(inverse), fills, backend)


def _check_padding(padding: str) -> None:
    require_choice("affine_warp", "padding", padding, ("zeros", "border", "reflection"))
    if padding != "zeros":
        raise NotImplementedError(
            f"affine_warp: `padding` {padding!r} is not offered. Use 'zeros' with `fill`, or pad the image first."
        )
