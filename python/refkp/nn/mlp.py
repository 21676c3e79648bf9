"""Token-wise networks: [...,in] -> [...,out]."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as functional
from torch import Tensor, nn


class Mlp(nn.Module):
    """The two layers of a transformer block: Linear, exact GELU, Linear."""

    def __init__(self, dim: int, ratio: float = 4.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, int(dim * ratio))
        self.fc2 = nn.Linear(int(dim * ratio), dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [...,dim] one by one."""
        return self.fc2(functional.gelu(self.fc1(tokens)))


def hidden_layers(sizes: Sequence[int]) -> nn.Sequential:
    """Linear, LayerNorm (eps 1e-5), exact GELU for every step from one size to the next.

    >>> len(hidden_layers((8, 4, 2)))
    6
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.GELU()]
    return nn.Sequential(*layers)
