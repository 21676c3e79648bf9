"""Resamplers that work on the token grid of a view: pooling, dropping, convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from refkp._checks import fail
from refkp.systems.panorama.model.resampler.tokens import Grid, ViewTokens, cell_boxes


class SpatialPoolResampler(nn.Module):
    """The mean of the tokens in each cell of a coarser grid of side x side cells."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, tokens: Tensor, grid: Grid) -> ViewTokens:
        """Pool tokens [...,S,D] of a grid to [...,side*side,D]."""
        return _pooled(_to_map(tokens, grid), self.side, tokens)


class MaskedDropResampler(nn.Module):
    """A random part of the tokens in training, the same in all views of a batch; all of them in evaluation."""

    def __init__(self, keep: float) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, tokens: Tensor, grid: Grid) -> ViewTokens:
        """Tokens [...,S,D] of a grid, or in training round(keep * S) of them in raster order."""
        if not self.training:
            return ViewTokens(tokens, cell_boxes(grid), grid)
        count = tokens.shape[-2]
        kept = torch.randperm(count)[: max(1, round(self.keep * count))].sort().values
        return ViewTokens(tokens[..., kept.to(tokens.device), :], cell_boxes(grid)[kept], None)


class CAbstractor(nn.Module):
    """Depthwise convolutions with squeeze-and-excitation on the token grid, then optional pooling.

    After the C-Abstractor of Honeybee (Cha et al. 2024).
    """

    def __init__(self, in_dim: int, out_dim: int, depth: int, side: int | None) -> None:
        super().__init__()
        self.side = side
        self.input = nn.Linear(in_dim, out_dim)
        self.blocks = nn.Sequential(*(ConvBlock(out_dim, excite=True) for _ in range(depth)))

    def forward(self, tokens: Tensor, grid: Grid) -> ViewTokens:
        """Tokens [...,S,in_dim] of a grid to [...,S,out_dim], or to [...,side*side,out_dim]."""
        maps = self.blocks(_to_map(self.input(tokens), grid))
        if self.side is not None:
            return _pooled(maps, self.side, tokens)
        return ViewTokens(_from_map(maps, tokens), cell_boxes(grid), grid)


class ConvResampler(nn.Module):
    """ConvNeXt blocks on the token grid, then the mean: one token per view."""

    def __init__(self, in_dim: int, out_dim: int, depth: int) -> None:
        super().__init__()
        self.input = nn.Linear(in_dim, out_dim)
        self.blocks = nn.Sequential(*(ConvBlock(out_dim, excite=False) for _ in range(depth)))

    def forward(self, tokens: Tensor, grid: Grid) -> ViewTokens:
        """Tokens [...,S,in_dim] of a grid to [...,1,out_dim]."""
        return _pooled(self.blocks(_to_map(self.input(tokens), grid)), 1, tokens)


class ConvBlock(nn.Module):
    """A ConvNeXt block (depthwise 7x7, LayerNorm, MLP, residual), with squeeze-and-excitation on request."""

    def __init__(self, dim: int, *, excite: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.excitation = _excitation(dim) if excite else None
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [N,dim,h,w] to maps of the same shape."""
        hidden = self.depthwise(maps)
        if self.excitation is not None:
            hidden = hidden * self.excitation(hidden)
        return maps + self.mlp(self.norm(hidden.movedim(1, -1))).movedim(-1, 1)


def _excitation(dim: int) -> nn.Module:
    """Weights in (0,1) for each channel from the means of all (Hu et al. 2018)."""
    squeezed = max(1, dim // 4)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(dim, squeezed, 1),
        nn.GELU(),
        nn.Conv2d(squeezed, dim, 1),
        nn.Sigmoid(),
    )


def _pooled(maps: Tensor, side: int, like: Tensor) -> ViewTokens:
    """The means of maps [N,D,Gh,Gw] over a coarser grid of side x side windows."""
    grid = maps.shape[-2], maps.shape[-1]
    if side > min(grid):
        fail("build_resampler", "side", f"at most the {min(grid)} tokens of a view's side", side)
    pooled = functional.adaptive_avg_pool2d(maps, side)
    return ViewTokens(_from_map(pooled, like), cell_boxes(grid, (side, side)), (side, side))


def _to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens [...,Gh*Gw,D] as maps [N,D,Gh,Gw]."""
    return tokens.flatten(0, -3).mT.unflatten(-1, grid)


def _from_map(maps: Tensor, like: Tensor) -> Tensor:
    """Maps [N,D,h,w] as tokens [...,h*w,D] with the leading axes of `like`."""
    tokens = maps.flatten(-2).mT
    return tokens.reshape(*like.shape[:-2], *tokens.shape[-2:])
