"""What `flow_gt` returns: the compact form of a dense correspondence with occlusion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Bits of `FlowGT.flags`, each set only where the earlier ones down to INSIDE are.
SOURCE_VALID, IN_FRONT, INSIDE, TARGET_VALID, NOT_OCCLUDED = 1, 2, 4, 8, 16
VISIBLE = SOURCE_VALID | IN_FRONT | INSIDE | TARGET_VALID | NOT_OCCLUDED


class FlowGT(NamedTuple):
    """Where each source pixel lands in each target image. Direction: source to target; origin: the target.

    `uv` is a location in the target image, not a displacement: x first, in pixels, with pixel centres at
    `pixel_offset`.
    """

    uv: Tensor  # [B,S,H,W,2] float; 0 where the source is invalid or not in front of the target camera
    flags: Tensor  # [B,S,H,W] uint8, bits as above
    dst_size: tuple[int, int]  # (Ht, Wt)
    pixel_offset: float  # 0 or 0.5

    @property
    def visible(self) -> Tensor:
        """[B,S,H,W] bool: all five bits."""
        return self.flags == VISIBLE

    @property
    def in_front(self) -> Tensor:
        """[B,S,H,W] bool: the point is in front of the target camera, so `uv` is meaningful."""
        return (self.flags & IN_FRONT) != 0

    @property
    def inside(self) -> Tensor:
        """[B,S,H,W] bool: the point lands inside the target image."""
        return (self.flags & INSIDE) != 0

    def normalised(self) -> Tensor:
        """[B,S,H,W,2]: `uv` in [-1, 1] across the target image as in `grid_sample(align_corners=False)`.

        x = 2 (u + 0.5 - pixel_offset) / Wt - 1. Pixels that are not `in_front` hold the value of uv = 0.
        """
        height, width = self.dst_size
        size = torch.tensor([width, height], dtype=self.uv.dtype, device=self.uv.device)
        return 2 * (self.uv + (0.5 - self.pixel_offset)) / size - 1
