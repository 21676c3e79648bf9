"""Scales and offsets of joints from a few weights. Source: spec multiview e.3."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import require_shape

#: What an offset component is multiplied by, and the smallest scale.
_OFFSET_FACTOR, _SMALLEST_SCALE = 0.01, 1e-4


class LimbSizes(NamedTuple):
    """Scales and offsets of the joints of B bodies."""

    log_scale: Tensor  # [B,J,3]
    offsets: Tensor  # [B,J,3]


def limb_sizes(
    scaledirs: Tensor, transdirs: Tensor, scale_weights: Tensor, offset_weights: Tensor
) -> LimbSizes:
    """log max(1 + sum_c scaledirs_c a_c, 1e-4) and 0.01 sum_c transdirs_c b_c.

    Args:
        scaledirs, transdirs: float [C,J,3], of a body.
        scale_weights: [B,C], a.
        offset_weights: [B,C], b; the same weights where sizes and offsets of limbs go together.

    Returns:
        LimbSizes(log_scale [B,J,3], offsets [B,J,3]).

    Raises:
        ValueError: shapes that do not fit.

    Gradients reach both weights.
    """
    components = len(scaledirs)
    require_shape("limb_sizes", "scaledirs", scaledirs, "C,J,3")
    require_shape("limb_sizes", "transdirs", transdirs, "C,J,3", C=components, J=scaledirs.shape[1])
    require_shape("limb_sizes", "scale_weights", scale_weights, "B,C", C=components)
    require_shape("limb_sizes", "offset_weights", offset_weights, "B,C", B=len(scale_weights), C=components)
    scale = 1 + torch.einsum("cjd,bc->bjd", scaledirs, scale_weights)
    offsets = _OFFSET_FACTOR * torch.einsum("cjd,bc->bjd", transdirs, offset_weights)
    return LimbSizes(scale.clamp(min=_SMALLEST_SCALE).log(), offsets)
