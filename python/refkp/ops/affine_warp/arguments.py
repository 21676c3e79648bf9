"""What the backward pass of `affine_warp` is given, the same in every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class WarpGradient(NamedTuple):
    """The gradient that came, what was warped, and which gradients are asked for."""

    grad_out: Tensor  # [B,C,h,w], contiguous
    image: Tensor  # [B,C,H,W], contiguous
    theta: Tensor  # float64 [B,2,3], contiguous
    inverse: bool
    fill: Sequence[float]  # one per channel; none where nothing is blended
    needs_image: bool
    needs_theta: bool
