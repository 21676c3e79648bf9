"""Flow losses of the first revision of the pose system, and the weights that its solver took from a scale.

Source: spec pose 4.2.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from refkp._checks import require_choice, require_shape
from refkp.systems.pose.losses.flow import flow_error, require_flow


def flow_loss(
    flow: Tensor,
    target: Tensor,
    visible: Tensor,
    *,
    kind: Literal["l1", "huber"] = "l1",
    delta: float = 1.0,
    confidence: Tensor | None = None,
) -> Tensor:
    """Mean flow error over visible pixels, a scalar; 0, attached to the flow, if there are none.

    l1: |dx| + |dy|. huber, of the end-point error r: r^2/2 up to delta, then delta (r - delta/2). The mean is
    over the number of visible pixels, also with a confidence.

    Args:
        flow: [...,2], float, patch units.
        target: [...,2]; read at visible pixels alone.
        visible: [...] bool.
        kind: which error.
        delta: where huber turns linear.
        confidence: [...], multiplies the error of each pixel. On its own it teaches confidence 0.

    Raises:
        ValueError: shapes do not fit, or `kind` is unknown.
    """
    require_choice("flow_loss", "kind", kind, ("l1", "huber"))
    require_flow("flow_loss", flow, target, visible=visible, confidence=confidence)
    error = flow_error(flow, target, visible)
    pixel = error.abs().sum(-1) if kind == "l1" else _euclidean_huber(error, delta)
    weighted = pixel if confidence is None else pixel * confidence
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


def _euclidean_huber(error: Tensor, delta: float) -> Tensor:
    squared = error.square().sum(-1)
    far = squared > delta**2
    length = torch.where(far, squared, 1.0).sqrt()  # no root near zero: its gradient is infinite
    return torch.where(far, delta * (length - delta / 2), squared / 2)
