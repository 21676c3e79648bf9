"""Peers from other packages. The torch compositions are in `refkp.ops.compositions`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def e2p_py360convert(pixels: Tensor, yaws: Sequence[float], side: int) -> Tensor:
    """Level tiles of 90 degrees from pixels [H,W,3] of bytes; its cache of eight samplers stays warm."""
    import py360convert

    tiles = [py360convert.e2p(pixels.numpy(), 90.0, yaw, 0.0, (side, side)) for yaw in yaws]
    return torch.stack([torch.from_numpy(tile) for tile in tiles]).permute(0, 3, 1, 2)


def e2p_py360convert_shrunk(pixels: Tensor, yaws: Sequence[float], side: int, scale: int) -> Tensor:
    """The same tiles rendered `scale` times as large, and shrunk by OpenCV with the mean of the area."""
    import cv2

    large = e2p_py360convert(pixels, yaws, side * scale).permute(0, 2, 3, 1).numpy()
    tiles = [cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA) for tile in large]
    return torch.stack([torch.from_numpy(tile) for tile in tiles]).permute(0, 3, 1, 2)
