"""Where inside its patch each pixel goes: a likelihood that learns its own scale, robust errors, errors to watch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_shape, require_trailing
from refkp.nn.ranks import Mean

RobustKind = Literal["l1", "huber"]


class FlowMetrics(NamedTuple):
    """End-point errors in the unit of the flow, without a graph."""

    mae: Mean  # over visible pixels
    rmse: Mean  # over visible pixels, root of the mean square
    valid_ratio: Mean  # share of visible pixels


class LaplaceFlowLoss(NamedTuple):
    """The likelihood of a flow with a scale, and its regulariser, as means over pixels."""

    loss: Mean  # weighted by visibility
    invisible: Mean  # weighted by what is not visible: pushes the scale up there


def laplace_flow_loss(
    flow: Tensor,
    scale: Tensor,
    target: Tensor,
    visibility: Tensor,
    *,
    invisible_weight: float = 0.1,
    min_scale: float = 1e-4,
    eps: float = 1e-4,
) -> LaplaceFlowLoss:
    """Negative log likelihood of a Laplace distribution with one scale b for both axes of a pixel.

    (|dx| + |dy|)/(b + eps) + 2 log(b + eps), mean weighted by visibility; and a mean of
    invisible_weight/(b + eps), weighted by what is not visible.

    Args:
        flow: [...,2], float, patch units.
        scale: [...], b, clamped from below at `min_scale`.
        target: [...,2]; read where the visibility is above 0 alone.
        visibility: [...], bool or float in [0,1].
        invisible_weight: factor of the second term.
        min_scale, eps: keep b from 0.

    Returns:
        Both terms with gradient to `flow` and `scale`, also where nothing is visible.

    Raises:
        ValueError: shapes do not fit.

    Source: spec pose 4.2.

    >>> exact = torch.zeros(1, 2)
    >>> laplace_flow_loss(exact, torch.ones(1), exact, torch.ones(1), eps=0.0).loss.value
    tensor(0.)
    """
    require_flow("laplace_flow_loss", flow, target, visibility=visibility, scale=scale)
    error = flow_error(flow, target, visibility > 0)
    visibility = visibility.to(error.dtype)
    spread = scale.to(error.dtype).clamp(min=min_scale) + eps
    likelihood = error.abs().sum(-1) / spread + 2 * spread.log()
    unseen = 1 - visibility
    return LaplaceFlowLoss(
        Mean((visibility * likelihood).sum(), visibility.sum()),
        Mean(invisible_weight * (unseen / spread).sum(), unseen.sum()),
    )


def robust_flow_loss(
    flow: Tensor, target: Tensor, visible: Tensor, *, kind: RobustKind = "l1", delta: float = 1.0
) -> Mean:
    """Mean error of a flow over visible pixels, whatever scale it claims.

    l1: |dx| + |dy|. huber, of the end-point error r: r^2/2 up to delta, then delta (r - delta/2).

    Args:
        flow: [...,2], float, patch units.
        target: [...,2]; read at visible pixels alone.
        visible: [...] bool.
        kind: which error.
        delta: where huber turns linear, in patches.

    Returns:
        The mean with gradient to `flow`, also where nothing is visible.

    Raises:
        ValueError: shapes do not fit, or `kind` is unknown.

    Source: spec pose 4.2.

    >>> flow = torch.tensor([[3.0, 4.0]])
    >>> [robust_flow_loss(flow, 0 * flow, torch.ones(1).bool(), kind=kind).value.item() for kind in ("l1", "huber")]
    [7.0, 4.5]
    """
    require_flow("robust_flow_loss", flow, target, visible=visible)
    return Mean(robust_error(flow_error(flow, target, visible), kind, delta).sum(), visible.sum())


def robust_error(error: Tensor, kind: RobustKind, delta: float) -> Tensor:
    """The errors [...] of differences [...,2], as of `robust_flow_loss`; 0 with a gradient of 0 at no difference."""
    require_choice("robust_flow_loss", "kind", kind, ("l1", "huber"))
    if kind == "l1":
        return error.abs().sum(-1)
    squared = error.square().sum(-1)
    far = squared > delta**2
    length = torch.where(far, squared, 1.0).sqrt()  # no root near zero: its gradient is infinite
    return torch.where(far, delta * (length - delta / 2), squared / 2)


@torch.no_grad()
def flow_metrics(flow: Tensor, target: Tensor, visible: Tensor) -> FlowMetrics:
    """Errors of a flow over visible pixels.

    Args:
        flow: [...,2].
        target: [...,2]; read at visible pixels alone.
        visible: [...] bool.

    Raises:
        ValueError: shapes do not fit.

    >>> flow_metrics(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2), torch.tensor([True])).mae.value
    tensor(5.)
    """
    require_flow("flow_metrics", flow, target, visible=visible)
    squared = flow_error(flow, target, visible).square().sum(-1)
    return FlowMetrics(
        Mean.over(squared.sqrt(), visible), Mean.over(squared, visible, root=True), Mean.over(visible)
    )


def require_flow(function: str, flow: Tensor, target: Tensor, **per_pixel: Tensor | None) -> None:
    """Raise ValueError unless `flow` is [...,2], `target` of its shape and each of `per_pixel` [...]."""
    require_trailing(function, "flow", flow, "2")
    if target.shape != flow.shape:
        fail(function, "target", f"of the shape of `flow` {list(flow.shape)}", list(target.shape))
    for name, tensor in per_pixel.items():
        if tensor is not None:
            require_shape(function, name, tensor, ",".join(map(str, flow.shape[:-1])))


def flow_error(flow: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """flow - target in float32 at least, 0 where nothing is seen: targets there may be anything, also NaN."""
    flow = flow.to(torch.promote_types(flow.dtype, torch.float32))
    return torch.where(seen[..., None], flow - torch.where(seen[..., None], target, 0.0), 0.0)
