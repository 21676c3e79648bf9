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
