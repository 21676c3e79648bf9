"""Facing strips of neighbouring views, as earlier implementations compare them: kept for comparison.

At the default layout 6 % of these token pairs lie within half a token of each other. Source: spec panorama
3.3 and 3.4.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_shape
from refkp.ops import vicreg
from refkp.systems.panorama.losses.terms import LossTerms, VICRegOptions, mean_terms, weighted_terms
from refkp.systems.panorama.overlaps.correspondence import require_grid
from refkp.systems.panorama.overlaps.gather import PairedTokens
from refkp.systems.panorama.overlaps.pairs import tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout, wrap180

Mode = Literal["pairwise", "batchwise"]


def sequential_strip_vicreg(
    features: Tensor,
    grid: tuple[int, int],
    overlap_ratio: float,
    options: VICRegOptions = VICRegOptions(),  # noqa: B008 (frozen)
    *,
    mode: Mode = "pairwise",
    num_prefix_tokens: int = 0,
    backend: str | None = None,
) -> LossTerms:
    """VICReg between the right strip of every view and the left strip of the next one in a ring.

    "pairwise" takes variance and covariance over the tokens of one strip, "batchwise" over all tokens of both
    sides. Values are never clamped.

    Args:
        features, grid, overlap_ratio, num_prefix_tokens: as in `sequential_strips`.
        options, backend: as in `ops.vicreg`.
    """
    require_choice("sequential_strip_vicreg", "mode", mode, ("pairwise", "batchwise"))
    pairs = strip_pairs(features, grid, overlap_ratio, num_prefix_tokens=num_prefix_tokens)
    return _strip_vicreg(pairs, options, mode, "strips", backend)


def ring_strip_vicreg(
    features: Tensor,
    layout: ErpLayout,
    grid: tuple[int, int],
    options: VICRegOptions = VICRegOptions(),  # noqa: B008 (frozen)
    *,
    mode: Mode = "pairwise",
    num_prefix_tokens: int = 0,
    backend: str | None = None,
) -> LossTerms:
    """VICReg between facing strips of the neighbours in a row of tiles, as wide as their box overlap.

    k = max(1, int(Gw * overlap)) columns of each pair: the right ones of the left tile against the left ones
    of the right tile. This is the original grid pairing where it makes sense, in one pitch row.

    Args:
        features: [B,N,S,D] of the tiles alone; the first `num_prefix_tokens` tokens are left out.
        layout: N tiles in one row; its global view, if any, takes no part.
        grid, options, mode, backend: as in `sequential_strip_vicreg`.

    Raises:
        ValueError: several rows, whose strips do not face each other, or no neighbours that overlap.
    """
    require_choice("ring_strip_vicreg", "mode", mode, ("pairwise", "batchwise"))
    require_shape("ring_strip_vicreg", "features", features, "B,N,S,D", N=len(layout.tiles))
    rows = len({tile.row for tile in layout.tiles})
    if rows > 1:
        fail("ring_strip_vicreg", "layout", "one row of tiles", f"{rows} rows", "Use `overlap_vicreg`.")
    neighbours = tile_pairs(layout, PairRule("adjacent", "box"))
    if not len(neighbours.ij):
        fail("ring_strip_vicreg", "layout", "one with neighbours that overlap", "none")
    strips = []
    for (i, j), overlap in zip(neighbours.ij.tolist(), neighbours.overlap.tolist(), strict=True):
        turn = wrap180(layout.tiles[j].yaw_deg - layout.tiles[i].yaw_deg)
        left, right = (i, j) if turn > 0 else (j, i)
        strips.append(_facing(features[:, left], features[:, right], grid, overlap, num_prefix_tokens))
    rows_of = [torch.full((len(features),), strip.current.shape[1]) for strip in strips]
    lengths = torch.cat(rows_of)
    x, y = (torch.cat([strip[side].flatten(0, 1) for strip in strips]) for side in (0, 1))
    offsets = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    return _strip_vicreg(PairedTokens(x, y, offsets), options, mode, "ring_strips", backend)


class Strips(NamedTuple):
    """Facing strips of consecutive views, P = B*V pairs of L tokens, row by row."""

    current: Tensor  # [P,L,D], right columns of view v
    following: Tensor  # [P,L,D], left columns of view (v + 1) mod V


def sequential_strips(
    features: Tensor, grid: tuple[int, int], overlap_ratio: float, *, num_prefix_tokens: int = 0
) -> Strips:
    """The strips that `sequential_strip_vicreg` compares: k = max(1, int(Gw * overlap_ratio)) columns of each
    view.

    Args:
        features: [B,V,S,D]; the first `num_prefix_tokens` tokens of each view (class tokens) are left out.
        grid: (Gh, Gw) of the remaining tokens.
        overlap_ratio: in (0,1].
    """
    require_shape("sequential_strips", "features", features, "B,V,S,D")
    if not 0 < overlap_ratio <= 1:
        fail("sequential_strips", "overlap_ratio", "in (0,1]", overlap_ratio)
    strips = _facing(features, features, grid, overlap_ratio, num_prefix_tokens)
    return Strips(strips.current.flatten(0, 1), strips.following.roll(-1, 1).flatten(0, 1))


def strip_pairs(
    features: Tensor,
    grid: tuple[int, int],
    overlap_ratio: float,
    *,
    partner_features: Tensor | None = None,
    group: Literal["sample_pair", "pair"] = "sample_pair",
    num_prefix_tokens: int = 0,
) -> PairedTokens:
    """The tokens of `sequential_strips` as pairs, row by row.

    Args:
        features, grid, overlap_ratio, num_prefix_tokens: as in `sequential_strips`.
        partner_features: where the left strips are read instead, like `features`.
        group: what a segment holds: one pair of views of one sample, or of all samples.
    """
    require_choice("strip_pairs", "group", group, ("sample_pair", "pair"))
    following = features if partner_features is None else partner_features
    require_shape("strip_pairs", "features", features, "B,V,S,D")
    require_shape(
        "strip_pairs",
        "partner_features",
        following,
        "B,V,S,D",
        **dict(zip("BVSD", features.shape, strict=True)),
    )
    x = sequential_strips(features, grid, overlap_ratio, num_prefix_tokens=num_prefix_tokens).current
    y = sequential_strips(following, grid, overlap_ratio, num_prefix_tokens=num_prefix_tokens).following
    if group == "pair":
        x, y = (strip.unflatten(0, features.shape[:2]).transpose(0, 1).flatten(1, 2) for strip in (x, y))
    offsets = torch.arange(x.shape[0] + 1) * x.shape[1]
    return PairedTokens(x.flatten(0, 1), y.flatten(0, 1), offsets)


def _facing(
    left: Tensor, right: Tensor, grid: tuple[int, int], overlap: float, num_prefix_tokens: int
) -> Strips:
    """The right columns of `left` and the left columns of `right`, both [...,S,D], as tokens [...,L,D]."""
    columns = max(1, math.floor(grid[1] * overlap))
    cells = []
    for tile in (left, right):
        tokens = tile[..., num_prefix_tokens:, :]
        require_grid("sequential_strips", tokens.shape[-2], grid)
        cells.append(tokens.unflatten(-2, grid))
    strips = (cells[0][..., grid[1] - columns :, :], cells[1][..., :columns, :])
    return Strips(*(strip.flatten(-3, -2) for strip in strips))


def _strip_vicreg(
    pairs: PairedTokens, options: VICRegOptions, mode: Mode, name: str, backend: str | None
) -> LossTerms:
    x, y, offsets = pairs
    terms = vicreg(x, y, offsets, **options.arguments(), backend=backend)
    if mode == "pairwise":
        return mean_terms(options, terms, f"{name}/pairwise")
    both = torch.cat((x, y))
    statistics = vicreg(both, both, **{**options.arguments(), "covariance": "mean"}, backend=backend)
    variance, covariance = statistics.variance.mean(), statistics.covariance.mean()
    return weighted_terms(options, terms.invariance.mean(), variance, covariance, f"{name}/batchwise")
