"""The head on which the overlap losses act; dropped after the vision stage (spec panorama 4.1)."""

from __future__ import annotations

from torch import Tensor, nn


class VICRegHead(nn.Module):
    """Token-wise MLP [...,in_dim] -> [...,out_dim]: Linear-LayerNorm-GELU-Linear."""

    def __init__(self, in_dim: int, out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = max(in_dim, out_dim)
        self.layers = nn.Sequential(
            nn.Linear(in_dim, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, out_dim),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Project tokens [...,in_dim] one by one."""
        return self.layers(tokens)
