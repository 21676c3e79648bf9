"""Where inside its patch each pixel goes: robust losses, and a likelihood that learns its own scale."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_shape, require_trailing


class FlowMetrics(NamedTuple):
    """Errors over visible pixels, in the unit of the flow, without a graph; 0 if there are none."""

    mae: Tensor  # scalar, mean end-point error
    rmse: Tensor  # scalar, root of its mean square
    valid_ratio: Tensor  # scalar, share of visible pixels


class FlowLoss(NamedTuple):
    """A flow loss and its metrics."""

    loss: Tensor  # scalar; 0, attached to the prediction, if too few pixels are visible
    metrics: FlowMetrics


class LaplaceFlowLoss(NamedTuple):
    """The likelihood of a flow with a scale, its regulariser, and the weights that PnP should use."""

    loss: Tensor  # scalar; 0, attached to the prediction, if no pixel is visible
    invisible: Tensor  # scalar, pushes the scale up where nothing is visible
    pnp_weights: Tensor  # [...], visibility/(b + eps), with gradient to the scale
    metrics: FlowMetrics


def flow_loss(
    flow: Tensor,
    target: Tensor,
    visible: Tensor,
    *,
    kind: Literal["l1", "huber"] = "l1",
    delta: float = 1.0,
    confidence: Tensor | None = None,
    min_valid_pixels: int = 1,
) -> FlowLoss:
    """Mean flow error over visible pixels.

    l1: |dx| + |dy|. huber, of the end-point error r: r^2/2 up to delta, then delta (r - delta/2). The mean is
    over the number of visible pixels, also with a confidence.

    Args:
        flow: [...,2], float, patch units.
        target: [...,2]; read at visible pixels alone.
        visible: [...] bool.
        kind: which error.
        delta: where huber turns linear.
        confidence: [...], multiplies the error of each pixel. On its own it teaches confidence 0.
        min_valid_pixels: fewer visible pixels give a loss of 0.

    Returns:
        The loss with gradient to `flow` and `confidence`, and metrics.

    Raises:
        ValueError: shapes do not fit, or `kind` is unknown.

    Source: spec pose 4.2.

    >>> flow_loss(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), torch.tensor([True])).metrics.mae
    tensor(5.)
    """
    require_choice("flow_loss", "kind", kind, ("l1", "huber"))
    _check("flow_loss", flow, target, visible=visible, confidence=confidence)
    error = _error(flow, target, visible)
    pixel = error.abs().sum(-1) if kind == "l1" else _euclidean_huber(error, delta)
    weighted = pixel if confidence is None else pixel * confidence
    count = visible.sum()
    mean = torch.where(visible, weighted, 0.0).sum() / count.clamp(min=1)
    loss = torch.where(count >= min_valid_pixels, mean, 0.0)
    return FlowLoss(loss, _metrics(error, visible))


def laplace_flow_loss(
    flow: Tensor,
    scale: Tensor,
    target: Tensor,
    visibility: Tensor,
    *,
    lambda_invisible: float = 0.1,
    min_scale: float = 1e-4,
    eps: float = 1e-4,
    eps_norm: float = 1e-6,
) -> LaplaceFlowLoss:
    """Negative log likelihood of a Laplace distribution with one scale b for both axes of a pixel.

    (|dx| + |dy|)/(b + eps) + 2 log(b + eps), mean weighted by visibility; and lambda mean(1/(b + eps)),
    weighted by what is not visible.

    Args:
        flow: [...,2], float, patch units.
        scale: [...], b, clamped from below at `min_scale`.
        target: [...,2]; read where the visibility is above 0 alone.
        visibility: [...], bool or float in [0,1].
        lambda_invisible: factor of the second term.
        min_scale, eps: keep b from 0.
        eps_norm: least sum of weights that a mean is divided by.

    Returns:
        Both terms with gradient to `flow` and `scale`, the weights for PnP, and metrics.

    Raises:
        ValueError: shapes do not fit.

    Source: spec pose 4.2.

    >>> exact = torch.zeros(1, 2)
    >>> laplace_flow_loss(exact, torch.ones(1), exact, torch.ones(1), eps=0.0).loss
    tensor(0.)
    """
    _check("laplace_flow_loss", flow, target, visibility=visibility, scale=scale)
    seen = visibility > 0
    error = _error(flow, target, seen)
    visibility = visibility.to(error.dtype)
    spread = scale.to(error.dtype).clamp(min=min_scale) + eps
    likelihood = error.abs().sum(-1) / spread + 2 * spread.log()
    unseen = 1 - visibility
    return LaplaceFlowLoss(
        (visibility * likelihood).sum() / visibility.sum().clamp(min=eps_norm),
        lambda_invisible * (unseen / spread).sum() / unseen.sum().clamp(min=eps_norm),
        visibility / spread,
        _metrics(error, seen),
    )


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

    Source: spec pose 4.2.

    >>> center_flow_loss(torch.tensor([[1.0, -2.0]]), torch.zeros(1, 2), torch.ones(1))
    tensor(3.)
    """
    require_choice("center_flow_loss", "kind", kind, ("l1", "huber"))
    _check("center_flow_loss", flow, target, weights=weights)
    error = _error(flow, target, weights > 0).abs()
    if kind == "huber":
        error = torch.where(error < delta, error.square() / (2 * delta), error - delta / 2)
    weights = weights.to(error.dtype)
    return (weights * error.sum(-1)).sum() / weights.sum().clamp(min=eps_norm)


def _check(function: str, flow: Tensor, target: Tensor, **per_pixel: Tensor | None) -> None:
    require_trailing(function, "flow", flow, "2")
    if target.shape != flow.shape:
        fail(function, "target", f"of the shape of `flow` {list(flow.shape)}", list(target.shape))
    for name, tensor in per_pixel.items():
        if tensor is not None:
            require_shape(function, name, tensor, ",".join(map(str, flow.shape[:-1])))


def _error(flow: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """flow - target in float32 at least, 0 where nothing is seen: targets there may be anything, also NaN."""
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
    return torch.where(seen[..., None], flow - torch.where(seen[..., None], target, 0.0), 0.0)


def _euclidean_huber(error: Tensor, delta: float) -> Tensor:
    squared = error.square().sum(-1)
    far = squared > delta**2
    length = torch.where(far, squared, 1.0).sqrt()  # no root near zero: its gradient is infinite
    return torch.where(far, delta * (length - delta / 2), squared / 2)


@torch.no_grad()
def _metrics(error: Tensor, seen: Tensor) -> FlowMetrics:
    squared, count = error.square().sum(-1), seen.sum().clamp(min=1)
    ratio = seen.sum() / max(1, seen.numel())
    return FlowMetrics(squared.sqrt().sum() / count, (squared.sum() / count).sqrt(), ratio)
