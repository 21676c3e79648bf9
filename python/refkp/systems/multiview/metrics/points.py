"""How far estimated points are from the truth, in pictures and in space.

An error is NaN where there is no truth, and so counts nowhere; it is infinite where there is a truth and no estimate,
and so is a miss of every threshold. Source: spec multiview h.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail, require_shape
from refkp.geometry.procrustes import align

#: Thresholds of the share of correct points, in pixels.
PIXEL_THRESHOLDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0)
#: The same as parts of the length of the body.
BODY_THRESHOLDS = (0.01, 0.02, 0.05, 0.1, 0.2)
#: A joint counts as found within this share of the picture's side, where one number is told.
PCK_SHARE = 0.05
PERCENTILES = (75.0, 90.0, 95.0, 99.0)

#: Fewer points than these follow any motion.
_LEAST_ALIGNED = 3


def point_errors(estimate: Tensor, truth: Tensor, known: Tensor | None = None) -> Tensor:
    """|estimate - truth| in the unit of the points.

    Args:
        estimate, truth: [...,J,D], float; D = 2 pixels, or 3.
        known: bool [...,J], where there is a truth; a truth that is not finite is none in any case.

    Returns:
        float64 [...,J].

    >>> truth = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, torch.nan]])
    >>> point_errors(torch.tensor([[3.0, 4.0], [torch.nan, 0.0], [1.0, 1.0]]), truth)
    tensor([5., inf, nan], dtype=torch.float64)
    """
    if estimate.shape != truth.shape:
        fail(
            "point_errors", "estimate", f"of the shape of `truth`, {list(truth.shape)}", list(estimate.shape)
        )
    distance = torch.linalg.vector_norm(estimate.double() - truth.double(), dim=-1)
    distance = torch.where(torch.isfinite(estimate).all(-1), distance, torch.inf)
    there = torch.isfinite(truth).all(-1)
    return torch.where(there if known is None else there & known, distance, torch.nan)


def root_relative_errors(estimate: Tensor, truth: Tensor, known: Tensor, root: int) -> Tensor:
    """`point_errors` after the joint `root` of both has been moved to the origin; NaN where its truth is unknown."""
    moved = [points.double() - points[..., root : root + 1, :].double() for points in (estimate, truth)]
    return point_errors(moved[0], moved[1], known & known[..., root : root + 1])


def aligned_errors(estimate: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """`point_errors` after the similarity that brings each estimate nearest to its truth (Procrustes).

    NaN where fewer than three joints of the sample have both.
    """
    both = known & torch.isfinite(truth).all(-1) & torch.isfinite(estimate).all(-1)
    moved = align(estimate.double(), truth.double(), both.double()).apply(estimate.double())
    enough = both.sum(-1, keepdim=True) >= _LEAST_ALIGNED
    moved = torch.where(enough[..., None] & both[..., None], moved, torch.nan)
    return point_errors(moved, truth, known & enough)


def body_length(points: Tensor, known: Tensor) -> Tensor:
    """The largest distance between two known points [...,J,D] of an animal: float64 [...], NaN where there is none."""
    points = points.double()
    apart = torch.linalg.vector_norm(points[..., :, None, :] - points[..., None, :, :], dim=-1)
    both = known[..., :, None] & known[..., None, :]
    longest = torch.where(both, apart, 0.0).amax((-2, -1))
    return torch.where(longest > 0, longest, torch.nan)


def share_correct(errors: Tensor, thresholds: Tensor) -> Tensor:
    """PCK: the share of errors, of those that count, at or below each threshold.

    Divide the errors by `body_length` for the normalised one.

    Args:
        errors: any shape, from `point_errors`.
        thresholds: [k], in the unit of the errors.

    Returns:
        float64 [k] in [0,1]; NaN where no error counts.

    >>> share_correct(torch.tensor([5.0, 9.0, torch.inf, torch.nan]), torch.tensor([5.0, 10.0]))
    tensor([0.3333, 0.6667], dtype=torch.float64)
    """
    require_shape("share_correct", "thresholds", thresholds, "k")
    counted = errors[~errors.isnan()]
    return (counted[:, None] <= thresholds).double().mean(0)


class ErrorSummary(NamedTuple):
    """Errors in a few numbers; NaN where no point was found."""

    num_points: int  # that have a truth
    num_missed: int  # of these, without an estimate: they are in no other number
    mean: float
    median: float
    percentiles: tuple[float, ...]  # at PERCENTILES


def summarise(errors: Tensor) -> ErrorSummary:
    """Errors of any shape, from `point_errors`, in a few numbers; the mean of errors in space is the MPJPE."""
    counted = errors[~errors.isnan()].double()
    found = counted[torch.isfinite(counted)].numpy()
    missed = len(counted) - len(found)
    if not len(found):
        return ErrorSummary(
            len(counted), missed, float("nan"), float("nan"), (float("nan"),) * len(PERCENTILES)
        )
    median, *percentiles = np.percentile(found, (50.0, *PERCENTILES)).tolist()
    return ErrorSummary(len(counted), missed, float(found.mean()), median, tuple(percentiles))


def summarise_along(errors: Tensor, axis: int) -> list[ErrorSummary]:
    """A summary for each place along an axis: for each joint (-1), for each view of [...,V,J] (-2)."""
    return [summarise(part) for part in errors.unbind(axis)]
