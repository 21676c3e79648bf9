"""Resamplers that treat tokens one by one."""

from __future__ import annotations

from torch import Tensor, nn

from refkp.systems.panorama.model.resampler.tokens import Grid, ViewTokens, cell_boxes


class IdentityResampler(nn.Module):
    """The encoder's tokens as they are."""

    def forward(self, tokens: Tensor, grid: Grid) -> ViewTokens:
        """Tokens [...,S,D] of a grid, unchanged."""
        return ViewTokens(tokens, cell_boxes(grid), grid)


class MLPResampler(nn.Module):
    """Token-wise MLP [...,in_dim] -> [...,out_dim]: Linear-LayerNorm-GELU, the last layer linear alone."""

    def __init__(self, in_dim: int, out_dim: int, depth: int) -> None:
        super().__init__()
        hidden = max(in_dim, out_dim)
        sizes = [in_dim, *[hidden] * (depth - 1)]
        layers: list[nn.Module] = []
        for size in sizes[:-1]:
            layers += [nn.Linear(size, hidden), nn.LayerNorm(hidden), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], out_dim))

    def forward(self, tokens: Tensor, grid: Grid) -> ViewTokens:
        """Map tokens [...,S,in_dim] of a grid one by one."""
        return ViewTokens(self.layers(tokens), cell_boxes(grid), grid)
