"""The usual scale of the predicted weights, by which the Monte-Carlo loss is divided."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn

from refkp._checks import fail
from refkp.geometry.pnp.problem import PnPProblem


class NormFactor(nn.Module):
    """Running mean of a positive scale, the same on all ranks, kept in the state dict.

    The first mean that it sees becomes its value; each later one moves it by `momentum`. In evaluation mode it
    does not move. A mean that is not finite is left out.

    Args:
        momentum: share of the newest mean.

    Source: spec pose 4.4.
    """

    value: Tensor
    num_updates: Tensor

    def __init__(self, momentum: float = 0.01) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            fail("NormFactor", "momentum", "in (0,1]", momentum)
        self.momentum = momentum
        self.register_buffer("value", torch.ones(()))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def forward(self, scale: Tensor) -> Tensor:
        """Take in the scales of a batch [B] (any shape, B may be 0) and return the factor, a scalar."""
        if self.training:
            self._update(scale.detach().float())
        return self.value.clone()

    def _update(self, scale: Tensor) -> None:
        finite = torch.isfinite(scale)
        sums = torch.stack((torch.where(finite, scale, 0.0).sum(), finite.sum().to(scale.dtype)))
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(sums)
        mean = sums[0] / sums[1].clamp(min=1)
        moved = torch.where(self.num_updates == 0, mean, self.value + self.momentum * (mean - self.value))
        usable = mean > 0
        self.value.copy_(torch.where(usable, moved, self.value))
        self.num_updates += usable.to(self.num_updates.dtype)


def weight_scale(problem: PnPProblem) -> Tensor:
    """Sum of an object's weights over its points, mean of the two axes, [B]: what `NormFactor` follows.

    For weights that are a softmax over the points times a global scale it is that scale.
    """
    return torch.where(problem.is_valid[..., None], problem.weights, 0.0).sum(1).mean(-1)
