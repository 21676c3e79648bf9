"""Which token of one tile sees what a token of another tile sees: spherical correspondences of a layout.

A table depends only on the layout, the token grid and the pair rule, so it is computed once and cached; a
rotation common to all tiles leaves it as it is. Losses, metrics and pictures read it;
`gather.gather_pairs` applies it to features. Source: spec panorama 3.5 and 13.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, shape_text
from refkp.geometry import sphere
from refkp.systems.panorama.overlaps.pairs import tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout, ViewRecord

_MIN_DEPTH = 1e-6  # a token this close to the partner's image plane, or behind it, is not visible there


class TokenProjection(NamedTuple):
    """Where the token centres of tile A lie in the token grid of tile B, for P pairs."""

    row: Tensor  # [P,Gh,Gw], continuous token index (integer = token centre); NaN behind B
    col: Tensor  # [P,Gh,Gw]
    visible: Tensor  # bool [P,Gh,Gw], inside B


def project_tokens(
    rotation_a: Tensor,
    rotation_b: Tensor,
    half_tangent_a: Tensor,
    half_tangent_b: Tensor,
    grid: tuple[int, int],
    *,
    margin: float = 0.0,
) -> TokenProjection:
    """Project the token centres of tiles A into tiles B: q = R_B^T R_A (t, s, 1).

    Args:
        rotation_a, rotation_b: [P,3,3] `world_from_camera`.
        half_tangent_a, half_tangent_b: [P,2] tangents of half the fields of view, horizontal and vertical.
        grid: tokens (rows, columns) of either tile.
        margin: tokens closer than this to the border of B, in tokens, do not count as visible.
    """
    height, width = grid
    if min(grid) < 1:
        fail("project_tokens", "grid", "at least one token in rows and columns", shape_text(grid))
    ray = sphere.tangent_grid(height, width, half_tangent_a)
    q = torch.einsum("pji,pjk,phwk->phwi", rotation_b, rotation_a, ray)
    depth = torch.where(q[..., 2] > _MIN_DEPTH, q[..., 2], torch.nan)
    tan_x, tan_y = (limit[:, None, None] for limit in half_tangent_b.unbind(-1))
    t, s = q[..., 0] / depth, q[..., 1] / depth
    inside_x = t.abs() <= tan_x * (1 - 2 * margin / width)
    inside_y = s.abs() <= tan_y * (1 - 2 * margin / height)
    row = (1 - s / tan_y) / 2 * height - 0.5
    col = (1 + t / tan_x) / 2 * width - 0.5
    return TokenProjection(row, col, inside_x & inside_y)


class TokenBags(NamedTuple):
    """The transpose of a table of taps [T,K]: which taps read each token."""

    taps: Tensor  # int64 [T*K], flat taps t * K + k, token after token
    starts: Tensor  # int64 [V*S], where the taps of a token start


class CorrespondenceTable(NamedTuple):
    """T token correspondences of P ordered view pairs (A, B), stacked pair after pair.

    Token indices are flat over the views of one sample: view * S + row * Gw + column.
    """

    num_views: int  # V
    grid: tuple[int, int]  # (Gh, Gw), S = Gh * Gw
    views: Tensor  # int64 [P,2] on the CPU, view indices of A and B
    offsets: Tensor  # int64 [P+1] on the CPU, pair p owns the correspondences offsets[p] to offsets[p+1]
    index_a: Tensor  # int64 [T], token of A
    taps_b: Tensor  # int64 [T,4], the tokens of B around the same direction
    weights: Tensor  # float32 [T,4], bilinear, summing to one
    partner: Tensor  # float32 [T,2], continuous (row, column) of the direction in the grid of B
    bags_a: TokenBags  # of index_a as [T,1]
    bags_b: TokenBags  # of taps_b

    @property
    def num_tokens(self) -> int:
        """Tokens per view, S."""
        return self.grid[0] * self.grid[1]


@functools.lru_cache(maxsize=64)
def correspondence_table(
    layout: ErpLayout,
    grid: tuple[int, int],
    rule: PairRule = PairRule(),  # noqa: B008 (frozen)
    *,
    margin: float = 0.5,
    device: torch.device | str = "cpu",
) -> CorrespondenceTable:
    """The correspondences of the tile pairs that `rule` keeps, in both directions, on `device`.

    With `rule.include_global` the tokens of every tile, as A, also meet the letterboxed panorama, as B.

    Args:
        layout: the views.
        grid: tokens (rows, columns) of a view.
        rule: which views are paired.
        margin: distance to the border of B, in tokens, that a correspondence must keep; at 0.5 all four taps
            lie in B.

    Returns:
        A table without empty pairs: one that has no token in common is dropped.

    Raises:
        ValueError: no pair or no correspondence is left, or there is no global view to include.
    """
    parts = [_between_tiles(layout, grid, rule, margin)]
    if rule.include_global:
        parts.append(_with_global_view(layout, grid, margin))
    views, position, visible = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    count = visible.sum((1, 2))
    shared = count > 0
    if not bool(shared.any()):
        got = f"none in a grid of {grid[0]}x{grid[1]} with a margin of {margin:g} tokens"
        fail("correspondence_table", "layout", "one with tokens that two tiles share", got)
    pair, row_a, col_a = visible.nonzero().unbind(-1)
    base_a, base_b = (view[pair] * grid[0] * grid[1] for view in views.unbind(-1))
    partner = position[visible]
    wraps = torch.tensor([view.kind == "global" for view in layout.views])[views[:, 1]][pair]
    index_a = base_a + row_a * grid[1] + col_a
    taps, weights = _bilinear_taps(partner, grid, wraps)
    taps_b = base_b[:, None] + taps
    num_tokens = layout.num_views * grid[0] * grid[1]
    return CorrespondenceTable(
        num_views=layout.num_views,
        grid=grid,
        views=views[shared],
        offsets=torch.cat((count.new_zeros(1), count[shared].cumsum(0))),
        index_a=index_a.to(device),
        taps_b=taps_b.to(device),
        weights=weights.float().to(device),
        partner=partner.float().to(device),
        bags_a=_token_bags(index_a, num_tokens, device),
        bags_b=_token_bags(taps_b, num_tokens, device),
    )


class _Projected(NamedTuple):
    """The tokens of A seen in B, for P ordered view pairs."""

    views: Tensor  # int64 [P,2]
    position: Tensor  # float64 [P,Gh,Gw,2], continuous (row, column) in B
    visible: Tensor  # bool [P,Gh,Gw]


def _between_tiles(layout: ErpLayout, grid: tuple[int, int], rule: PairRule, margin: float) -> _Projected:
    layout.require_tiles("correspondence_table")
    ij = tile_pairs(layout, rule).ij
    if not len(ij):
        got = f"none of {len(layout.tiles)} tiles overlapping by more than {rule.min_overlap:g}"
        remedy = "Raise the layout's overlap or lower `min_overlap`."
        fail("correspondence_table", "layout", "one with pairs of tiles that overlap", got, remedy)
    tiles = torch.cat((ij, ij.flip(-1)))
    a, b = tiles.unbind(-1)
    rotation, half_tangent = layout.rotations, layout.half_tangents
    seen = project_tokens(rotation[a], rotation[b], half_tangent[a], half_tangent[b], grid, margin=margin)
    return _Projected(layout.first_tile + tiles, torch.stack((seen.row, seen.col), -1), seen.visible)


def _with_global_view(layout: ErpLayout, grid: tuple[int, int], margin: float) -> _Projected:
    """Every direction is in the panorama; only its upper and lower border has a margin."""
    panorama = require_global_view("correspondence_table", layout)
    left, top, right, bottom = panorama.letterbox
    height, width = ((bottom - top) * grid[0], (right - left) * grid[1])
    direction = tile_token_directions(layout, grid).unflatten(1, grid)
    lon, lat = sphere.lonlat_from_direction(direction)
    down = (0.5 - lat / math.pi) * height  # in tokens, from the upper border
    row = top * grid[0] + down - 0.5
    col = left * grid[1] + (lon / (2 * math.pi) + 0.5) * width - 0.5
    tiles = torch.tensor([tile.view_index for tile in layout.tiles])
    views = torch.stack((tiles, torch.full_like(tiles, panorama.view_index)), -1)
    return _Projected(views, torch.stack((row, col), -1), (down >= margin) & (down <= height - margin))


def tile_token_directions(layout: ErpLayout, grid: tuple[int, int]) -> Tensor:
    """Unit directions of the token centres of every tile, float64 [N,S,3]."""
    ray = sphere.tangent_grid(*grid, layout.half_tangents)
    direction = torch.einsum("nij,nhwj->nhwi", layout.rotations, ray).flatten(1, 2)
    return direction / direction.norm(dim=-1, keepdim=True)


def require_global_view(function: str, layout: ErpLayout) -> ViewRecord:
    """The record of the global view; ValueError without one."""
    if not layout.has_global_view:
        got = f"{layout.num_views} tiles alone"
        fail(function, "layout", "one with a global view", got, "Build it with `global_view=True`.")
    return layout.views[0]


def _bilinear_taps(position: Tensor, grid: tuple[int, int], wraps: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [T,4] around continuous positions (row, column) [T,2] and their weights.

    Outside the grid the border token stands in; where `wraps` [T], the columns go round.
    """
    low = position.floor()
    fraction = position - low
    corners = torch.tensor([(0, 0), (0, 1), (1, 0), (1, 1)], device=position.device)
    row, col = (low[:, None] + corners).long().unbind(-1)
    col = torch.where(wraps[:, None], col % grid[1], col.clamp(0, grid[1] - 1))
    weights = torch.where(corners.bool(), fraction[:, None], 1 - fraction[:, None]).prod(-1)
    return row.clamp(0, grid[0] - 1) * grid[1] + col, weights


def _token_bags(taps: Tensor, num_tokens: int, device: torch.device | str) -> TokenBags:
    tokens = taps.flatten()
    ends = torch.bincount(tokens, minlength=num_tokens).cumsum(0)
    starts = torch.cat((ends.new_zeros(1), ends[:-1]))
    return TokenBags(tokens.argsort(stable=True).to(device), starts.to(device))


def require_grid(function: str, tokens: int, grid: tuple[int, int]) -> None:
    """Raise ValueError unless a view of `tokens` tokens fills `grid`."""
    if tokens != grid[0] * grid[1]:
        remedy = "Strip class tokens, and pair overlap losses with token-preserving resamplers only."
        fail(function, "tokens", f"{shape_text(grid)} = {grid[0] * grid[1]} in each view", tokens, remedy)
