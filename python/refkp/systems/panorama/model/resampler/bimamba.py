"""The bidirectional state space resampler; its blocks are those of the package mamba_ssm."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from refkp.systems.panorama.model.resampler.tokens import Grid, ViewTokens, cell_boxes


class BiMambaResampler(nn.Module):
    """Mamba blocks over the raster order of a view, forwards and backwards (Gu and Dao 2023).

    Raises:
        ImportError: mamba_ssm is not installed.
    """

    def __init__(self, in_dim: int, out_dim: int, depth: int) -> None:
        super().__init__()
        self.input = nn.Linear(in_dim, out_dim)
        self.blocks = nn.ModuleList(_BiMambaBlock(out_dim) for _ in range(depth))
        self.norm = nn.LayerNorm(out_dim)
        self.output = nn.Linear(out_dim, out_dim)

    def forward(self, tokens: Tensor, grid: Grid) -> ViewTokens:
        """Tokens [...,S,in_dim] of a grid to [...,S,out_dim]."""
        hidden = self.input(tokens).flatten(0, -3)
        for block in self.blocks:
            hidden = block(hidden)
        return ViewTokens(
            self.output(self.norm(hidden)).reshape(*tokens.shape[:-1], -1), cell_boxes(grid), grid
        )


class _BiMambaBlock(nn.Module):
    """x + (forward(norm x) + backward(norm x)) / 2."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        mamba = _mamba()
        self.norm = nn.LayerNorm(dim)
        self.forwards, self.backwards = mamba(d_model=dim), mamba(d_model=dim)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.norm(tokens)
        return tokens + (self.forwards(hidden) + self.backwards(hidden.flip(1)).flip(1)) / 2


def _mamba() -> Any:
    try:
        from mamba_ssm import Mamba
    except ImportError as error:
        remedy = "Install it on a CUDA machine with `pip install mamba-ssm`, or choose the kind 'mlp'."
        raise ImportError(
            f"ResamplerSpec: kind 'bimamba' needs the package mamba_ssm, which cannot be imported ({error}). "
            + remedy
        ) from error
    return Mamba
