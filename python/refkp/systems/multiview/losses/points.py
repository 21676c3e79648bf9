"""Losses of joints in pictures and in space. Source: spec multiview g."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.nn.ranks import Mean


def keypoint_weights(
    target: Tensor,
    visibility: Tensor,
    view_mask: Tensor | None = None,
    joint_weights: Tensor | None = None,
    *,
    soft: bool = True,
) -> Tensor:
    """How much each labelled point counts: 0 outside of its picture and in a view that is not there.

    Args:
        target: [B,V,J,2], shares of the picture, in [0,1] inside; NaN: not labelled.
        visibility: [B,V,J], at least 0.
        view_mask: bool [B,V]; None: all views are there.
        joint_weights: [J]; None: ones.
        soft: visibility weighs; else whatever is not 0 counts alike.

    Returns:
        [B,V,J], of the dtype of `visibility`.
    """
    inside = ((target >= 0) & (target <= 1)).all(-1)
    if view_mask is not None:
        inside = inside & view_mask[..., None]
    weights = visibility if soft else (visibility != 0).to(visibility.dtype)
    weights = torch.where(inside, weights, 0.0)
    return weights if joint_weights is None else weights * joint_weights


def keypoint_loss(
    estimate: Tensor, target: Tensor, weights: Tensor, *, huber: float | None = None, of: str = "points"
) -> Mean:
    """sum w |p - g|^2 / sum w, the squared distance of points; or of coordinates, which is half as much.

    Args:
        estimate: [...,J,2].
        target: [...,J,2]; may be anything where the weight is 0.
        weights: [...,J], at least 0.
        huber: distance from which on the loss grows as 2 h |p - g| - h^2; None: never.
        of: "points", or "coordinates", whose number is twice that of the points.

    Gradients reach `estimate`; that of a point with weight 0 is 0.
    """
    squares = _squared_distance(estimate, target, weights)
    if huber is not None:
        far = squares > huber**2
        distance = torch.where(far, squares, 1.0).sqrt()
        squares = torch.where(far, 2 * huber * distance - huber**2, squares)
    return Mean((weights * squares).sum(), _coordinates(of, 2) * weights.sum())


class ViewLosses(NamedTuple):
    """The loss of each view, for the log."""

    loss: Tensor  # [V]; 0 where nothing counts
    weight: Tensor  # [V], sum of the weights; sum of loss * weight / sum of weight is the `keypoint_loss`


def keypoint_loss_by_view(estimate: Tensor, target: Tensor, weights: Tensor) -> ViewLosses:
    """The parts of `keypoint_loss` by view; arguments [B,V,J,...]."""
    weight = weights.sum((0, 2))
    total = (weights * _squared_distance(estimate, target, weights)).sum((0, 2))
    return ViewLosses(total / torch.where(weight > 0, weight, 1.0), weight)


def point_loss(estimate: Tensor, target: Tensor, weights: Tensor) -> Mean:
    """sum w |p - g|^2 / (3 sum w), the squared error of a coordinate in space.

    Args:
        estimate: [B,J,3].
        target: [B,J,3]; may be anything where the weight is 0.
        weights: [B,J], 0 where there is no point.
    """
    return Mean((weights * _squared_distance(estimate, target, weights)).sum(), 3 * weights.sum())


def _squared_distance(estimate: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """|p - g|^2 where the weight is not 0, else 0, with gradient 0 whatever stands there."""
    counts = (weights != 0)[..., None]
    difference = torch.where(counts, estimate, 0.0) - torch.where(counts, target, 0.0)
    return difference.square().sum(-1)


def _coordinates(of: str, number: int) -> int:
    if of not in ("points", "coordinates"):
        fail("keypoint_loss", "of", "'points' or 'coordinates'", repr(of))
    return number if of == "coordinates" else 1
