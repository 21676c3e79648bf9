"""Thresholds and recalls of the BOP challenge."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, require_shape

#: Correctness thresholds of VSD, and of MSSD as parts of the diameter.
THRESHOLDS = tuple(step / 20 for step in range(1, 11))
#: Correctness thresholds of MSPD, in pixels of an image that is 640 wide.
PIXEL_THRESHOLDS = tuple(5.0 * step for step in range(1, 11))
_NOMINAL_WIDTH = 640


def mssd_thresholds(diameter: float) -> Tensor:
    """[10] float64: 0.05 to 0.5 of the diameter, in its unit."""
    return torch.tensor(THRESHOLDS, dtype=torch.float64) * diameter


def mspd_thresholds(image_width: int) -> Tensor:
    """[10] float64 pixels: 5 r to 50 r with r = width / 640."""
    if image_width < 1:
        fail("mspd_thresholds", "image_width", "at least 1", image_width)
    return torch.tensor(PIXEL_THRESHOLDS, dtype=torch.float64) * (image_width / _NOMINAL_WIDTH)


def recall(errors: Tensor, thresholds: Tensor) -> Tensor:
    """The share of errors below each threshold; their mean is the average recall of one error function.

    Args:
        errors: [n], one for each target; infinite where there is no estimate.
        thresholds: [k].

    Returns:
        [k] float64 in [0,1].

    Raises:
        ValueError: a shape, or no target at all: there is no recall of nothing.

    Source: spec pose 6.5.

    >>> recall(torch.tensor([1.0, 8.0, float("inf")]), torch.tensor([5.0, 10.0]))
    tensor([0.3333, 0.6667], dtype=torch.float64)
    """
    require_shape("recall", "errors", errors, "n")
    require_shape("recall", "thresholds", thresholds, "k")
    if not len(errors):
        fail("recall", "errors", "at least one target", "none")
    return (errors[:, None] < thresholds).double().mean(0)


def match_estimates(errors: Tensor, thresholds: Tensor, valid: Tensor | None = None) -> Tensor:
    """Which estimate finds each true instance of one object in one image, at each threshold.

    The estimates choose in their order, which must be that of falling scores: each takes the free instance with
    the least error, if that is below the threshold. An instance is taken once.

    Args:
        errors: [E,G] or, where every threshold has errors of its own, [E,G,k].
        thresholds: [k].
        valid: bool [G], the instances that count; None: all.

    Returns:
        int64 [G,k], the estimate, or -1: not found.

    Raises:
        ValueError: a shape.

    Source: spec pose 6.5.

    >>> errors = torch.tensor([[1.0, 2.0], [1.5, 9.0]])  # both estimates are nearest to the first instance
    >>> match_estimates(errors, torch.tensor([5.0, 10.0])).tolist()
    [[0, 0], [-1, 1]]
    """
    if errors.dim() == 2:
        errors = errors[..., None].expand(*errors.shape, len(thresholds))
    require_shape("match_estimates", "errors", errors, "E,G,k", k=len(thresholds))
    num_truths, count = errors.shape[1:]
    finder = torch.full((num_truths, count), -1)
    if not num_truths:
        return finder
    blocked = ~valid if valid is not None else torch.zeros(num_truths, dtype=torch.bool)
    for index, row in enumerate(errors):
        free = torch.where((finder >= 0) | blocked[:, None], torch.inf, row)
        least, which = free.min(0)
        found = least < thresholds
        finder[which[found], found.nonzero()[:, 0]] = index
    return finder
