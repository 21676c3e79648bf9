"""The loss of cameras against known ones. Source: spec multiview g."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.nn.ranks import Mean


def camera_loss(estimate: Tensor, target: Tensor, known: Tensor, *, by_view: bool = False) -> Mean:
    """Mean square of the error of what a camera has: of fields of view, logarithms of focal lengths, translations, or
    the nine elements of rotations, where it is 8/9 sin^2(angle / 2).

    Args:
        estimate, target: [B,V,...]; the target may be anything where it is not known.
        known: bool [B,V].
        by_view: the mean of the means of the views, of those that have any: a view that few samples show counts as
            much as the others. Over several ranks that is the mean over the ranks' views.

    Gradients reach `estimate`.
    """
    counted = known.view(*known.shape, *[1] * (estimate.dim() - 2)).expand(estimate.shape)
    squares = (torch.where(counted, estimate, 0.0) - torch.where(counted, target, 0.0)).square()
    if not by_view:
        return Mean.over(squares, counted)
    squares, counts = squares.transpose(0, 1).flatten(1).sum(1), counted.transpose(0, 1).flatten(1).sum(1)
    return Mean.over(squares / counts.clamp(min=1), counts > 0)
