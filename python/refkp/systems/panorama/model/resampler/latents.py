"""Resamplers with learned latents that read all tokens of a view: Perceiver and Q-Former."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refkp.systems.panorama.model.resampler.tokens import Grid, ViewTokens, whole_view_boxes

_INITIAL_STD = 0.02


class PerceiverResampler(nn.Module):
    """Latents that attend to the tokens of a view and to themselves at once (Flamingo, Alayrac et al. 2022)."""

    def __init__(self, in_dim: int, out_dim: int, depth: int, num_latents: int, num_heads: int) -> None:
        super().__init__()
        self.input = nn.Linear(in_dim, out_dim)
        self.latents = nn.Parameter(_INITIAL_STD * torch.randn(num_latents, out_dim))
        self.blocks = nn.ModuleList(_PerceiverBlock(out_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, tokens: Tensor, grid: Grid) -> ViewTokens:
        """Tokens [...,S,in_dim] to [...,num_latents,out_dim]."""
        source = self.input(tokens).flatten(0, -3)
        latents = self.latents.expand(len(source), -1, -1)
        for block in self.blocks:
            latents = block(latents, source)
        return _latent_tokens(self.norm(latents), tokens)


class _PerceiverBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.norm_latents, self.norm_source = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )

    def forward(self, latents: Tensor, source: Tensor) -> Tensor:
        query = self.norm_latents(latents)
        keys = torch.cat((self.norm_source(source), query), 1)
        latents = latents + self.attention(query, keys, keys, need_weights=False)[0]
        return latents + self.mlp(latents)


class QFormerResampler(nn.Module):
    """Queries with self-attention, cross-attention to the tokens and an MLP (BLIP-2, Li et al. 2023)."""

    def __init__(self, in_dim: int, out_dim: int, depth: int, num_latents: int, num_heads: int) -> None:
        super().__init__()
        self.input = nn.Linear(in_dim, out_dim)
        self.latents = nn.Parameter(_INITIAL_STD * torch.randn(num_latents, out_dim))
        layer = nn.TransformerDecoderLayer(
            out_dim, num_heads, 4 * out_dim, dropout=0.1, activation="gelu", batch_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, depth)

    def forward(self, tokens: Tensor, grid: Grid) -> ViewTokens:
        """Tokens [...,S,in_dim] to [...,num_latents,out_dim]."""
        source = self.input(tokens).flatten(0, -3)
        return _latent_tokens(self.decoder(self.latents.expand(len(source), -1, -1), source), tokens)


def _latent_tokens(latents: Tensor, like: Tensor) -> ViewTokens:
    """Latents [N,K,D] with the leading axes of `like`; each looks at its whole view."""
    count = latents.shape[1]
    return ViewTokens(latents.reshape(*like.shape[:-2], count, -1), whole_view_boxes(count), None)
