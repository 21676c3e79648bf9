"""What e2p demands of its arguments."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from refkp._checks import (
    fail,
    floating,
    height_and_width,
    number,
    require_choice,
    require_finite,
    require_input,
    require_same,
)
from refkp.ops.e2p.camera import ROTATION_TOLERANCE, is_rotation

CONVENTIONS = ("canonical", "py360convert", "equilib")
MODES = ("bilinear", "nearest")
ANTIALIAS = ("none", "box", "mip")


def check_erp(erp: Tensor, convention: str) -> None:
    """ERP images [B,C,H,W] with a size that the kernels can index."""
    require_input("e2p", "erp", erp, "B,C,H,W", (torch.uint8, *floating()))
    height, width = erp.shape[2:]
    if height < 1 or width < 1:
        fail("e2p", "erp", "[B,C,H,W] with H, W >= 1", list(erp.shape))
    if convention != "equilib" and width % 2 != 0:
        fail(
            "e2p",
            "erp",
            "of even width, for half a turn across a pole to be whole pixels",
            width,
            "Resize it to an even width, or use convention='equilib', which does not cross the poles.",
        )
    extent = (height - 1) * erp.stride(2) + (width - 1) * erp.stride(3)
    if extent >= 2**31 or max(height, width) >= 2**28:
        rule = (
            "of fewer than 2^31 elements from the first to the last pixel of a channel, each side below 2^28"
        )
        fail("e2p", "erp", rule, extent + 1, "Split or shrink it, or make it contiguous.")


def check_rotation(rotation: Tensor, erp: Tensor) -> None:
    """Rotations [N,3,3] on the device of the images."""
    require_input("e2p", "rotation", rotation, "N,3,3", (torch.float32, torch.float64))
    require_same("e2p", "rotation", rotation, "erp", erp, dtype=False)


def check_size(size: Sequence[int]) -> tuple[int, int]:
    """Height and width of the tiles."""
    height, width = height_and_width("e2p", "size", size)
    if height < 1 or width < 1:
        fail("e2p", "size", "at least 1 x 1 pixels", size)
    if height * width >= 2**31:
        fail("e2p", "size", "of fewer than 2^31 pixels", size, "Render the tile in parts.")
    return height, width


def check_image_index(image_index: Tensor | None, num_images: int, rotation: Tensor) -> Tensor:
    """The image of every tile, int64 [N]; the default is only allowed where it is unambiguous."""
    num_tiles = len(rotation)
    if image_index is None:
        if num_images not in (1, num_tiles):
            fail("e2p", "image_index", f"given when {num_tiles} tiles are cut from {num_images} images", None,
                 "Pass an int64 tensor [N] that says which image each tile is cut from.")  # fmt: skip
        ordered = torch.arange(num_tiles, device=rotation.device)
        return ordered if num_images == num_tiles else torch.zeros_like(ordered)
    require_input("e2p", "image_index", image_index, "N", (torch.int64,), N=num_tiles)
    if image_index.device.type != "cpu":
        require_same("e2p", "image_index", image_index, "rotation", rotation, dtype=False)
    return image_index


def half_tangents(argument: str, fov_deg: float | Sequence[float], num_tiles: int) -> list[float]:
    """tan(fov/2) of one field of view for all tiles, or of one for each."""
    if isinstance(fov_deg, Iterable) and getattr(fov_deg, "ndim", 1) > 0 and not isinstance(fov_deg, str):
        values = [number("e2p", argument, value) for value in fov_deg]
        if len(values) != num_tiles:
            rule = f"one number or one for each of the {num_tiles} tiles"
            fail("e2p", argument, rule, f"{len(values)} numbers")
    else:
        values = [number("e2p", argument, fov_deg)]
    for value in values:
        if not 0.0 < value < 180.0:
            fail("e2p", argument, "inside (0, 180) degrees", value)
    return [math.tan(math.radians(value) / 2.0) for value in values]


def check_options(convention: str, mode: str, antialias: str) -> None:
    """The named options."""
    require_choice("e2p", "convention", convention, CONVENTIONS)
    require_choice("e2p", "mode", mode, MODES)
    require_choice("e2p", "antialias", antialias, ANTIALIAS)


def check_values(rotation: Tensor, image_index: Tensor, num_images: int) -> None:
    """The values of tensors on the CPU; those on a device are not read, so that nothing waits for it."""
    if not rotation.is_cuda:
        require_finite("e2p", "rotation", rotation)
        valid = is_rotation(rotation.detach().to(torch.float64))
        if not bool(valid.all()):
            bad = int((~valid).nonzero()[0])
            fail("e2p", "rotation", f"orthonormal with determinant +1, within {ROTATION_TOLERANCE}",
                 rotation[bad].tolist(), f"That is rotation[{bad}]; re-orthonormalise it.")  # fmt: skip
    if not image_index.is_cuda and image_index.numel() > 0:
        low, high = int(image_index.min()), int(image_index.max())
        if low < 0 or high >= num_images:
            fail(
                "e2p",
                "image_index",
                f"in [0, {num_images}), the images of `erp`",
                f"values from {low} to {high}",
            )
