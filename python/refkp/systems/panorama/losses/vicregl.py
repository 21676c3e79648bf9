"""VICRegL: VICReg of whole views, and of tokens that find their partners by feature and by place.

Source: Bardes, Ponce, LeCun, "VICRegL", NeurIPS 2022; spec panorama 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_shape
from refkp.ops import vicreg
from refkp.systems.panorama.losses.terms import LossTerms, VICRegOptions
from refkp.systems.panorama.overlaps.correspondence import (
    CorrespondenceTable,
    require_grid,
    tile_token_directions,
)
from refkp.systems.panorama.views.layout import ErpLayout


@dataclass(frozen=True)
class VICRegLOptions:
    """The constants of VICRegL.

    Args:
        alpha: weight of the term of whole views; the local one has 1 - alpha.
        num_matches: token matches that are kept of a pair in its first and in its second direction; clipped
            to the number of tokens.
        vicreg: constants of both terms; the covariance of the local one is the mean of the branches.
    """

    alpha: float = 0.75
    num_matches: tuple[int, int] = (20, 4)
    vicreg: VICRegOptions = field(default_factory=lambda: VICRegOptions(unbiased=True))

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            fail("VICRegLOptions", "alpha", "in [0,1]", self.alpha)
        if len(self.num_matches) != 2 or min(self.num_matches) < 1:
            fail("VICRegLOptions", "num_matches", "two numbers of at least 1", self.num_matches)


class RegionView(NamedTuple):
    """One view of B samples, as a whole and token by token."""

    vector: Tensor  # [B,Dg]
    tokens: Tensor  # [B,S,D]; S may differ between views
    location: Tensor  # [B,S,K], where a token is: a place in the image, or a unit direction


def vicregl(
    views: Sequence[RegionView],
    pairs: Sequence[tuple[int, int]],
    options: VICRegLOptions = VICRegLOptions(),
    *,
    backend: str | None = None,
) -> LossTerms:
    """VICRegL between views.

    total = alpha global + (1 - alpha) local. The global term compares the vectors: invariance over the pairs,
    variance and covariance over the views, each a mean. The local term is the mean over the pairs (a, b) of
    two VICReg losses, for partners by feature and by location: half the matches of a in b, half those of b in
    a. A token's match is the nearest one of the other view (Euclidean; for unit directions the chord). The n
    closest matches of each sample, closest first, make [B,n,D], and the statistics of each rank are over the
    batch. Of equal distances the first token counts.

    Args:
        views: of the same B >= 2 samples.
        pairs: ordered pairs of view indices.
        options: constants.
        backend: as in `ops.vicreg`.

    Returns:
        total and the terms "global" and "local"; gradients reach vectors and tokens.
    """
    if not pairs:
        fail("vicregl", "pairs", "at least one pair of views", "none")
    for view in views:
        _check(view, views[0])
    whole = _global_loss([view.vector for view in views], pairs, options.vicreg, backend)
    local = _local_loss(views, pairs, options, backend)
    total = options.alpha * whole + (1 - options.alpha) * local
    return LossTerms(total, {"global": whole, "local": local}, "vicregl")


def multicrop_pairs(num_global: int, num_local: int) -> list[tuple[int, int]]:
    """Each global view, which come first, with every other view.

    >>> multicrop_pairs(2, 1)
    [(0, 1), (0, 2), (1, 0), (1, 2)]
    """
    return [(a, b) for a in range(num_global) for b in range(num_global + num_local) if a != b]


def overlap_vicregl(
    features: Tensor,
    layout: ErpLayout,
    table: CorrespondenceTable,
    options: VICRegLOptions = VICRegLOptions(),
    *,
    backend: str | None = None,
) -> LossTerms:
    """VICRegL between the tiles that overlap; a token's location is its direction on the sphere.

    Args:
        features: [B,V,S,D], every view of every sample.
        layout: the views.
        table: its correspondences, of which the pairs of tiles are taken.
    """
    require_shape("overlap_vicregl", "features", features, "B,V,S,D", V=layout.num_views)
    require_grid("overlap_vicregl", features.shape[2], table.grid)
    directions = tile_token_directions(layout, table.grid).to(features)
    first = layout.first_tile
    views = [
        RegionView(tokens.mean(1), tokens, direction.expand(len(tokens), -1, -1))
        for tokens, direction in zip(features[:, first:].unbind(1), directions, strict=True)
    ]
    pairs = [(a - first, b - first) for a, b in table.views.tolist() if b >= first]
    return vicregl(views, pairs, options, backend=backend)


def _check(view: RegionView, first: RegionView) -> None:
    batch, dim = first.vector.shape
    require_shape("vicregl", "vector", view.vector, "B,Dg", B=batch, Dg=dim)
    require_shape("vicregl", "tokens", view.tokens, "B,S,D", B=batch, D=first.tokens.shape[-1])
    sizes = {"B": batch, "S": view.tokens.shape[1], "K": first.location.shape[-1]}
    require_shape("vicregl", "location", view.location, "B,S,K", **sizes)
    if batch < 2:
        fail("vicregl", "views", "of at least two samples", batch, "Its statistics are over the batch.")


def _global_loss(
    vectors: list[Tensor], pairs: Sequence[tuple[int, int]], options: VICRegOptions, backend: str | None
) -> Tensor:
    stacked = torch.stack(vectors)
    a, b = torch.tensor(pairs, device=stacked.device).unbind(-1)
    invariance = (stacked[a] - stacked[b]).square().mean()
    rows, offsets = stacked.flatten(0, 1), torch.arange(len(vectors) + 1) * stacked.shape[1]
    arguments = {**options.arguments(), "covariance": "mean"}
    statistics = vicreg(rows, rows, offsets, **arguments, backend=backend)  # both branches: v(z), k(z)
    weights = options.coefficients
    terms = (invariance, statistics.variance.mean(), statistics.covariance.mean())
    return torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).sum()


def _local_loss(
    views: Sequence[RegionView],
    pairs: Sequence[tuple[int, int]],
    options: VICRegLOptions,
    backend: str | None,
) -> Tensor:
    """All matches in one call of the kernel: a segment of B rows for every match rank."""
    matched = [
        _match(views[source], views[target], by_location, count)
        for a, b in pairs
        for by_location in (False, True)
        for source, target, count in ((a, b, options.num_matches[0]), (b, a, options.num_matches[1]))
    ]
    x, y = (torch.cat([match[side] for match in matched]) for side in (0, 1))
    ranks, batch, _ = x.shape
    offsets = torch.arange(ranks + 1) * batch
    arguments = {**options.vicreg.arguments(), "covariance": "mean"}
    terms = vicreg(x.flatten(0, 1), y.flatten(0, 1), offsets, **arguments, backend=backend)
    losses = torch.stack([part.mean() for part in terms.total.split([len(match[0]) for match in matched])])
    return losses.sum() / (2 * len(pairs))


def _match(source: RegionView, target: RegionView, by_location: bool, count: int) -> tuple[Tensor, Tensor]:
    """The `count` closest matches of the tokens of `source` in `target`, both [count,B,D]."""
    here, there = (view.location if by_location else view.tokens for view in (source, target))
    with torch.no_grad():
        nearest = torch.cdist(here, there).min(2)
        order = nearest.values.argsort(dim=1, stable=True)[:, :count]
        partner = nearest.indices.gather(1, order)
    sample = torch.arange(len(order), device=order.device)
    return source.tokens[sample, order.T], target.tokens[sample, partner.T]
