"""What the references of several ops do with the taps of a sample."""

from __future__ import annotations

import torch
from torch import Tensor


def weighted(weight: Tensor, value: Tensor) -> Tensor:
    """weight * value, broadcast; what has no weight does not count, be it or its gradient NaN.

    The weight keeps its derivative there, unless the value is not finite.
    """
    value = torch.where(weight != 0, value, value.detach())
    return torch.where((weight != 0) | value.isfinite(), weight * value, 0)
