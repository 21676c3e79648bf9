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


def check_fill(fills: Sequence[float], dtype: torch.dtype) -> None:
    """The value outside an image of bytes is one that bytes hold."""
    if dtype == torch.uint8 and not all(0 <= value <= 255 for value in fills):
        fail("camera_warp", "fill", "in [0, 255] for a uint8 image", fills, "Pass image.float() for others.")


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
    K, lens, A = (tensor.detach().double() for tensor in (intrinsics, distortion, affine))
    finite = torch.cat([K.flatten(1), lens, A.flatten(1)], dim=1).isfinite().all()
    off = (K[:, 2] - K.new_tensor([0.0, 0.0, 1.0])).abs().amax(1) > _ROW_TOLERANCE
    singular = _is_singular(torch.stack([K[:, :2, :2], A[:, :, :2]]))
    if bool(finite & ~(off | singular).any()):  # one question, for it is asked at every call
        return
    for name, tensor in (("intrinsics", K), ("distortion", lens), ("affine", A)):
        require_finite("camera_warp", name, tensor)
    _refuse("intrinsics", "a matrix with the last row (0, 0, 1)", off, intrinsics)
    _refuse("intrinsics", "invertible", singular[0], intrinsics)
    _refuse("affine", "invertible", singular[1], affine)


def _is_singular(matrices: Tensor) -> Tensor:
    """Whether 2 x 2 matrices [...,2,2] are; bool [...]."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrices.unbind(-2))
    return ~((a * d - b * c).abs() > _SINGULAR * matrices.square().sum((-2, -1)))


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
