"""Stochastic depth: a residual branch is left out of some samples in training."""

from __future__ import annotations

from torch import Tensor, nn

from refkp._checks import fail


class DropPath(nn.Module):
    """Multiply each sample (first axis) by 0 with probability `rate`, else by 1 / (1 - rate); off in evaluation.

    Raises:
        ValueError: a rate outside [0,1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            fail("DropPath", "rate", "in [0,1)", rate)
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """The branch [B,...] with the mean it has in evaluation."""
        if not self.training or self.rate == 0:
            return branch
        keep = branch.new_empty(len(branch), *[1] * (branch.dim() - 1)).bernoulli_(1 - self.rate)
        return branch * (keep / (1 - self.rate))
