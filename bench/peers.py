"""Peers from other packages. The torch compositions are in `refkp.ops.compositions`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refkp.data.pixels import PixelStatistics


def views_py360convert(
    pixels: Tensor, yaws: Sequence[float], side: int, statistics: PixelStatistics
) -> Tensor:
    """The letterboxed panorama and level tiles of 90 degrees from pixels [H,W,3] of bytes, normalised.

    What a user of py360convert and OpenCV writes: tiles at three times the size, both reduced by area means.
    """
    import cv2
    import numpy as np
    import py360convert

    erp = pixels.numpy()
    views = np.zeros((1 + len(yaws), side, side, 3), np.float32)
    above = (side - side // 2) // 2
    views[0, above : above + side // 2] = cv2.resize(erp, (side, side // 2), interpolation=cv2.INTER_AREA)
    for view, yaw in zip(views[1:], yaws, strict=True):
        tile = py360convert.e2p(erp, 90.0, yaw, 0.0, (3 * side, 3 * side))
        view[...] = cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA)
    scale = np.float32(1 / 255) / np.array(statistics.std, np.float32)
    shift = np.array(statistics.mean, np.float32) / np.array(statistics.std, np.float32)
    views *= scale
    views -= shift
    return torch.from_numpy(views).permute(0, 3, 1, 2)


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
