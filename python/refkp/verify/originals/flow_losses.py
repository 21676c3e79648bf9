"""Flow losses of the first revisions that are not trained with here, and the weights that their solver took.

Source: spec pose 4.2.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from refkp._checks import require_choice, require_shape
from refkp.systems.pose.losses.flow import RobustKind, flow_error, require_flow, robust_error


def confident_flow_loss(
    flow: Tensor,
    target: Tensor,
    visible: Tensor,
    confidence: Tensor,
    *,
    kind: RobustKind = "l1",
    delta: float = 1.0,
) -> Tensor:
    """Mean of confidence * error over the visible pixels, a scalar; 0, attached to the flow, if there are none.

    The errors are those of `robust_flow_loss`. On its own it teaches confidence 0.

    Args:
        flow: [...,2], float, patch units.
        target: [...,2]; read at visible pixels alone.
        visible: [...] bool.
        confidence: [...], multiplies the error of each pixel.
        kind: which error.
        delta: where huber turns linear.

    Raises:
        ValueError: shapes do not fit, or `kind` is unknown.
    """
    require_flow("confident_flow_loss", flow, target, visible=visible, confidence=confidence)
    weighted = confidence * robust_error(flow_error(flow, target, visible), kind, delta)
    return torch.where(visible, weighted, 0.0).sum() / visible.sum().clamp(min=1)


def center_flow_loss(
    flow: Tensor,
    target: Tensor,
    weights: Tensor,
    *,
    kind: Literal["l1", "huber"] = "l1",
    delta: float = 1.0,
    eps_norm: float = 1e-6,
) -> Tensor:
    """Weighted mean error of one flow vector per pair of patches, from centre to partner.

    Per axis, then summed: l1 |e|; huber e^2/(2 delta) below delta, then |e| - delta/2.

    Args:
        flow, target: [...,2], float, patch units; targets are read where the weight is above 0 alone.
        weights: [...], bool or float, at least 0.
        kind, delta: which error, and where huber turns linear.
        eps_norm: least sum of weights that the mean is divided by.

    Returns:
        Scalar with gradient to `flow`; 0, attached to it, if all weights are 0.

    Raises:
        ValueError: shapes do not fit, or `kind` is unknown.
    """
    require_choice("center_flow_loss", "kind", kind, ("l1", "huber"))
    require_flow("center_flow_loss", flow, target, weights=weights)
    error = flow_error(flow, target, weights > 0).abs()
    if kind == "huber":
        error = torch.where(error < delta, error.square() / (2 * delta), error - delta / 2)
    weights = weights.to(error.dtype)
    return (weights * error.sum(-1)).sum() / weights.sum().clamp(min=eps_norm)


def pnp_weights(scale: Tensor, visibility: Tensor, *, min_scale: float = 1e-4, eps: float = 1e-4) -> Tensor:
    """visibility/(b + eps) of scales b [...], clamped at `min_scale`; with gradient to the scale."""
    require_shape("pnp_weights", "visibility", visibility, ",".join(map(str, scale.shape)))
    return visibility / (scale.clamp(min=min_scale) + eps)
