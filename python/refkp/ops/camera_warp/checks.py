"""What camera_warp demands of its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from refkp._checks import fail, floating, require_finite, require_input, require_same

#: |det| below this fraction of the square of the matrix counts as singular.
_SINGULAR = 1e-9
#: How far the last row of the intrinsics, which is not read, may be from (0, 0, 1).
_ROW_TOLERANCE = 1e-4
#: Image pixels that an output pixel may span: 512 cells of 8.
MAX_SHRINK = 4096
#: Positions are float32 in the kernels, which count whole pixels exactly up to here.
_MAX_SIDE = 2**24


def check_image(image: Tensor) -> None:
    """Images [B,C,H,W] with a size that the kernels can index."""
    require_input("camera_warp", "image", image, "B,C,H,W", (torch.uint8, *floating()))
    check_plane("image", image.shape[2:])
    extent = (image.shape[2] - 1) * image.stride(2) + (image.shape[3] - 1) * image.stride(3)
    if extent >= 2**31:
        rule = "of fewer than 2^31 elements from the first to the last pixel of a channel"
        fail("camera_warp", "image", rule, extent + 1, "Make it contiguous, or split it.")


def check_plane(argument: str, size: Sequence[int]) -> None:
    """Height and width of the image or of the output."""
    height, width = size
    if height < 1 or width < 1:
        fail("camera_warp", argument, "at least 1 x 1 pixels", f"{height} x {width}")
    if max(height, width) >= _MAX_SIDE or height * width >= 2**31:
        rule = "of fewer than 2^31 pixels, each side below 2^24"
        fail("camera_warp", argument, rule, f"{height} x {width}", "Split it into tiles.")


def check_cameras(intrinsics: Tensor, distortion: Tensor, affine: Tensor, image: Tensor) -> None:
    """Shapes, dtypes and devices; the values are read by `check_values`."""
    patterns = {"intrinsics": "B,3,3", "distortion": "B,5", "affine": "B,2,3"}
    for (name, pattern), tensor in zip(patterns.items(), (intrinsics, distortion, affine), strict=True):
        require_input("camera_warp", name, tensor, pattern, B=image.shape[0])
        require_same("camera_warp", name, tensor, "image", image, dtype=False)


def check_values(intrinsics: Tensor, distortion: Tensor, affine: Tensor) -> None:
    """Raise ValueError for cameras without a map. Those on a device are not read: that would wait for it."""
    if affine.device.type != "cpu":
        return
    for name, tensor in (("intrinsics", intrinsics), ("distortion", distortion), ("affine", affine)):
        require_finite("camera_warp", name, tensor.detach())
    last = intrinsics.detach()[:, 2].double() - torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    _refuse(
        "intrinsics", "a matrix with the last row (0, 0, 1)", last.abs().amax(1) > _ROW_TOLERANCE, intrinsics
    )
    _refuse("intrinsics", "invertible", _is_singular(intrinsics), intrinsics)
    _refuse("affine", "invertible", _is_singular(affine), affine)
    (a, b), (c, d) = (row.unbind(-1) for row in affine.detach().double()[:, :, :2].unbind(-2))
    spans = torch.maximum(torch.hypot(d, c), torch.hypot(b, a)) / (a * d - b * c).abs()
    rule = f"a map that shrinks at most {MAX_SHRINK} times"
    _refuse("affine", rule, ~(spans <= MAX_SHRINK), affine)


def _is_singular(matrix: Tensor) -> Tensor:
    """Whether the upper left 2 x 2 of each matrix is; bool [B]."""
    linear = matrix.detach().double()[:, :2, :2]
    (a, b), (c, d) = (row.unbind(-1) for row in linear.unbind(-2))
    return ~((a * d - b * c).abs() > _SINGULAR * linear.square().sum((1, 2)))


def _refuse(argument: str, rule: str, broken: Tensor, tensor: Tensor) -> None:
    if bool(broken.any()):
        item = int(broken.nonzero()[0])
        fail("camera_warp", argument, rule, f"item {item} = {tensor[item].tolist()}")


def refuse_gradients(backend: str, cameras: Mapping[str, Tensor]) -> None:
    """Raise NotImplementedError if a gradient to a camera is wanted, which the reference alone has."""
    if not torch.is_grad_enabled():
        return
    for name, tensor in cameras.items():
        if tensor.requires_grad:
            raise NotImplementedError(
                f"camera_warp: backend {backend!r} has no gradient to `{name}`. "
                f"Use backend='reference', or pass {name}.detach()."
            )
