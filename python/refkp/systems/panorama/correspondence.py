"""Which token of one tile sees what a token of another tile sees: spherical correspondences of a layout.

A table depends only on the layout, the token grid and the pair rule, so it is computed once and cached; a
rotation common to all tiles leaves it as it is. Losses, metrics and pictures read it; `gather_pairs` applies
it to features. Source: spec panorama 3.5 and 13.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_shape, shape_text
from refkp.geometry import sphere
from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.pairs import PairRule, tile_pairs

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

    Args:
        layout: the views; a global view takes no part.
        grid: tokens (rows, columns) of a view.
        rule: which tiles are paired.
        margin: distance to the border of B, in tokens, that a correspondence must keep; at 0.5 all four taps
            lie in B.

    Returns:
        A table without empty pairs: one that has no token in common is dropped.

    Raises:
        ValueError: no pair or no correspondence is left.
    """
    ij = tile_pairs(layout, rule).ij
    if not len(ij):
        got = f"none of {len(layout.tiles)} tiles overlapping by more than {rule.min_overlap:g}"
        remedy = "Raise the layout's overlap or lower `min_overlap`."
        fail("correspondence_table", "layout", "one with pairs of tiles that overlap", got, remedy)
    tile_a, tile_b = torch.cat((ij, ij.flip(-1))).unbind(-1)
    rotation, half_tangent = layout.rotations, layout.half_tangents
    projection = project_tokens(
        rotation[tile_a], rotation[tile_b], half_tangent[tile_a], half_tangent[tile_b], grid, margin=margin
    )
    count = projection.visible.sum((1, 2))
    shared = count > 0
    if not bool(shared.any()):
        got = f"none in a grid of {grid[0]}x{grid[1]} with a margin of {margin:g} tokens"
        fail("correspondence_table", "layout", "one with tokens that two tiles share", got)
    pair, row_a, col_a = projection.visible.nonzero().unbind(-1)
    first_view = 1 if layout.has_global_view else 0
    base_a, base_b = ((first_view + tile[pair]) * grid[0] * grid[1] for tile in (tile_a, tile_b))
    partner = torch.stack((projection.row, projection.col), -1)[projection.visible]
    taps, weights = _bilinear_taps(partner, grid)
    return CorrespondenceTable(
        num_views=layout.num_views,
        grid=grid,
        views=first_view + torch.stack((tile_a, tile_b), -1)[shared],
        offsets=torch.cat((count.new_zeros(1), count[shared].cumsum(0))),
        index_a=(base_a + row_a * grid[1] + col_a).to(device),
        taps_b=(base_b[:, None] + taps).to(device),
        weights=weights.float().to(device),
        partner=partner.float().to(device),
    )


def _bilinear_taps(position: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Tokens [T,4] around continuous positions (row, column) [T,2] and their weights; border tokens stand in
    outside.
    """
    limit = position.new_tensor(grid) - 1
    low = position.floor()
    fraction = position - low
    corners = torch.tensor([(0, 0), (0, 1), (1, 0), (1, 1)], device=position.device)
    cell = torch.minimum((low[:, None] + corners).clamp_min(0), limit).long()
    weights = torch.where(corners.bool(), fraction[:, None], 1 - fraction[:, None]).prod(-1)
    return cell[..., 0] * grid[1] + cell[..., 1], weights


class PairedTokens(NamedTuple):
    """Features of the same directions in two tiles, stacked over the samples of a batch and the pairs of a
    table.
    """

    x: Tensor  # [B*T,D], tokens of A
    y: Tensor  # [B*T,D], tokens of B, interpolated
    offsets: Tensor  # int64 [B*P+1] on the CPU


def gather_pairs(features: Tensor, table: CorrespondenceTable) -> PairedTokens:
    """Apply a correspondence table to token features: x = F[index_a], y = sum_k weights_k F[taps_k].

    The backward pass sorts the taps by token and adds each token's gradients in that fixed order, so it is
    bitwise repeatable on every device (`index_add_` on CUDA is not). Features in half precision are read as
    float32.

    Args:
        features: [B,V,S,D] floating, views and tokens as in `table`.
        table: on the device of `features`.

    Returns:
        float32 pairs (float64 for float64 features); gradients reach `features`.
    """
    require_shape("gather_pairs", "features", features, "B,V,S,D", V=table.num_views, S=table.num_tokens)
    if features.device != table.index_a.device:
        fail(
            "gather_pairs", "table", f"on the device of `features` ({features.device})", table.index_a.device
        )
    batch, dim = features.shape[0], features.shape[-1]
    flat = features.reshape(-1, dim)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    start = torch.arange(batch, device=flat.device)[:, None]
    tokens = start * (table.num_views * table.num_tokens)
    index_a = (tokens + table.index_a).reshape(-1, 1)
    taps_b = (tokens[..., None] + table.taps_b).reshape(-1, 4)
    weights = table.weights.to(flat.dtype).repeat(batch, 1)
    x = _GatherRows.apply(flat, index_a, torch.ones_like(weights[:, :1]))
    y = _GatherRows.apply(flat, taps_b, weights)
    ends = torch.arange(batch)[:, None] * table.index_a.numel() + table.offsets[1:]
    offsets = torch.cat((table.offsets[:1], ends.flatten()))
    return PairedTokens(x, y, offsets)


class _GatherRows(torch.autograd.Function):
    """out_t = sum_k weights_tk rows[index_tk] for index, weights [T,K], with a fixed-order backward pass."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(index, weights)
        ctx.num_rows = rows.shape[0]
        out = rows[index[:, 0]] * weights[:, :1]
        for tap in range(1, index.shape[1]):
            out.addcmul_(rows[index[:, tap]], weights[:, tap, None])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, None, None]:
        index, weights = ctx.saved_tensors
        if grad_out.device.type == "cpu":  # sequential there, hence already in a fixed order
            grad_rows = grad_out.new_zeros(ctx.num_rows, grad_out.shape[1])
            for tap in range(index.shape[1]):
                grad_rows.index_add_(0, index[:, tap], grad_out * weights[:, tap, None])
            return grad_rows, None, None
        order = index.flatten().argsort(stable=True)
        lengths = torch.bincount(index.flatten(), minlength=ctx.num_rows)
        parts = grad_out[order // index.shape[1]] * weights.flatten()[order, None]
        return torch.segment_reduce(parts, "sum", lengths=lengths), None, None


def nearest_token(table: CorrespondenceTable) -> Tensor:
    """The token of B whose centre is nearest to each correspondence, int64 [T], within its view."""
    row, col = (table.partner + 0.5).floor().long().unbind(-1)
    return row.clamp(0, table.grid[0] - 1) * table.grid[1] + col.clamp(0, table.grid[1] - 1)


def require_grid(function: str, tokens: int, grid: tuple[int, int]) -> None:
    """Raise ValueError unless a view of `tokens` tokens fills `grid`."""
    if tokens != grid[0] * grid[1]:
        remedy = "Strip class tokens, and pair overlap losses with token-preserving resamplers only."
        fail(function, "tokens", f"{shape_text(grid)} = {grid[0] * grid[1]} in each view", tokens, remedy)
