"""Undistort, crop and resize pictures of cameras in one inverse warp."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from refkp._checks import height_and_width, refuse_tangents
from refkp.ops._backends import choose_backend
from refkp.ops._fill import fill_values
from refkp.ops.camera_warp import checks, library, reference

__all__ = ["camera_warp"]


def camera_warp(
    image: Tensor,
    intrinsics: Tensor,
    distortion: Tensor,
    affine: Tensor,
    *,
    size: Sequence[int],
    antialias: bool = True,
    fill: float | Iterable[float] = 0.0,
    backend: str | None = None,
) -> Tensor:
    r"""Undistort, crop and resize pictures of cameras in one inverse warp.

    The place p of the output shows the raw image at

        K distort(K^-1 affine^-1 p),    distort(u, v) = (u, v) (1 + k1 s + k2 s^2 + k3 s^3)
                                        + (2 p1 u v + p2 (s + 2 u^2), p1 (s + 2 v^2) + 2 p2 u v),  s = u^2 + v^2,

    sampled bilinearly. So keypoints that were undistorted with P = K move by `affine`, and the camera of the output is
    affine K, without distortion.

    Where the model folds over, the output is `fill` and never a mirrored picture: beyond the radius up to which
    r (1 + k1 r^2 + k2 r^4 + k3 r^6) grows, and where the tangential part makes the determinant of the derivative of
    `distort` negative.

    Antialiasing: a pixel is the mean of the bilinear interpolation over its footprint, in closed form. With A the
    derivative of the map at its middle, the footprint A [-1/2,1/2]^2 is replaced by the parallelogram with horizontal
    rows of the same second moments. A side that is no longer than a pixel of the image is a sample. A pixel costs what
    it covers of the image, and shows the fill where its middle is beyond the fold.

    Convention: pixel centres at +0.5, corners of the image at (0, 0) and (W, H) (edge coordinates), for `intrinsics`
    and both sides of `affine`. OpenCV counts from the centre of the first pixel: its cx and cy are less by 0.5.

    Args:
        image: [B,C,H,W] uint8, float32 or float64 of any strides (pixels [H,W,C] permuted to [C,H,W] are read in
            place); on CUDA also float16 and bfloat16, but not float64.
        intrinsics: [B,3,3] floating, in pixels of the raw image; skew is allowed, the last row is (0, 0, 1).
        distortion: [B,5] floating, (k1, k2, p1, p2, k3) in the order of OpenCV; zeros for none.
        affine: [B,2,3] floating, output pixel from ideal (undistorted) pixel. The three are used in float64.
        size: (h, w) of the output.
        antialias: take the mean over the footprint where the map shrinks; otherwise one sample a pixel.
        fill: value outside the raw image, one number or one per channel, blended by coverage as in `affine_warp`;
            0 to 255 for uint8.
        backend: "native", "triton", "reference", or None for the fastest that supports the call.

    Returns:
        [B,C,h,w] of the dtype of `image`; uint8 is rounded to the nearest, halves up.

    Raises:
        ValueError: a wrong shape, dtype, device, size or fill. On the CPU also cameras that are not finite, and an
            affine map or intrinsics that are singular. On CUDA values are not read, since that would stall the device;
            there a camera that is not finite gives `fill`.
        NotImplementedError: a gradient to `intrinsics`, `distortion` or `affine`, or forward mode, is asked of
            another backend than "reference"; a named backend cannot run the call.

    A pixel is a sum of neighbours by their weights; one of weight 0 does not count, be it NaN or infinite.

    Gradients flow to `image` (floating dtypes), bitwise repeatable, once differentiable; in "reference" also to
    `intrinsics`, `distortion` and `affine`. Which sides are samples and the edge of the fold are constants to them.
    Where a gradient that comes is not finite, "triton" and CUDA, which add up integers, fill all of it with NaN.

    Source: spec multiview b and d; D. C. Brown, Decentering distortion of lenses, 1966.

    >>> image = torch.arange(16.0).reshape(1, 1, 2, 8)
    >>> K = torch.tensor([[[8.0, 0.0, 4.0], [0.0, 8.0, 1.0], [0.0, 0.0, 1.0]]])
    >>> halve = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]])
    >>> camera_warp(image, K, torch.zeros(1, 5), halve, size=(1, 4))[0, 0, 0, 1:3]
    tensor([5.6875, 7.4375])
    """
    checks.check_image(image)
    checks.check_cameras(intrinsics, distortion, affine, image)
    size = height_and_width("camera_warp", "size", size)
    checks.check_plane("size", size)
    fills = fill_values("camera_warp", fill, image.shape[1]) or [0.0] * image.shape[1]
    checks.check_fill(fills, image.dtype)
    dtype = image.dtype if image.is_floating_point() else torch.float32
    backend = choose_backend("camera_warp", backend, image.device, dtype)
    if backend == "reference":
        return reference.camera_warp(image, intrinsics, distortion, affine, size, bool(antialias), fills)
    cameras = {"intrinsics": intrinsics, "distortion": distortion, "affine": affine}
    refuse_tangents("camera_warp", "Use backend='reference'.", image=image, **cameras)
    checks.refuse_gradients(backend, cameras)
    return library.camera_warp(image, intrinsics, distortion, affine, *size, bool(antialias), fills, backend)
