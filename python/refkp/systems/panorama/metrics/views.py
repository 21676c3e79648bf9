"""What the token features know about overlaps, and whether they collapsed. Source: spec panorama 5.

`view_metrics` computes all of them, for the log of a validation; ask it for the features before and after the
head to see a collapse that the head hides.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import fail, require_shape
from refkp.systems.panorama.metrics.assignment import optimal_assignment
from refkp.systems.panorama.overlaps.correspondence import CorrespondenceTable
from refkp.systems.panorama.overlaps.gather import gather_pairs
from refkp.systems.panorama.overlaps.pairs import tile_distance
from refkp.systems.panorama.views.layout import ErpLayout

_OPPOSITE = math.pi / 2  # tiles whose centres are further apart look at opposite parts of the panorama
_GUARD = 1e-8  # keeps a quotient finite for constant features


@torch.no_grad()
def view_metrics(features: Tensor, table: CorrespondenceTable, layout: ErpLayout) -> dict[str, Tensor]:
    """All metrics of one kind of features; scalars.

    Always: "retrieval" and its "chance" (`overlap_retrieval`); "adjacent_cosine", "adjacent_mse" and
    "adjacent_cka" of tokens that see the same direction; "effective_rank" and "std" of the tile tokens. From
    two samples on: "retrieval_elsewhere", the retrieval in the next panorama of the batch, which a code of
    the position in the tile earns without any content, and "position_accuracy". "opposite_cka" if some tiles
    are more than 90 degrees apart; "global_cosine" with a global view, and "global_cka" from three samples on.

    Args:
        features: [B,V,S,D] floating, of every view.
        table: correspondences of the layout, on the device of `features`.
        layout: the views.
    """
    require_shape("view_metrics", "features", features, "B,V,S,D", V=layout.num_views, S=table.num_tokens)
    features = features.float()
    tiles = features[:, layout.first_tile :]
    retrieval = overlap_retrieval(features, table)
    x, y, _ = gather_pairs(features, table)
    values = {
        "retrieval": retrieval.accuracy,
        "chance": retrieval.chance,
        "adjacent_cosine": functional.cosine_similarity(x, y, dim=-1).mean(),
        "adjacent_mse": functional.mse_loss(x, y),
        "adjacent_cka": linear_cka(x, y),
        "effective_rank": effective_rank(tiles.flatten(0, 2)),
        "std": feature_std(tiles.flatten(0, 2)),
    }
    if len(features) > 1:
        elsewhere = overlap_retrieval(features, table, partner_features=features.roll(1, 0))
        values["retrieval_elsewhere"] = elsewhere.accuracy
        values["position_accuracy"] = position_accuracy(tiles)
    pairs = opposite_tiles(layout)
    if len(pairs):
        values["opposite_cka"] = torch.stack(
            [linear_cka(tiles[:, a].flatten(0, 1), tiles[:, b].flatten(0, 1)) for a, b in pairs.tolist()]
        ).mean()
    if layout.has_global_view:
        values |= _global_metrics(features[:, 0].mean(1), tiles.mean((1, 2)))
    return values


def _global_metrics(whole: Tensor, parts: Tensor) -> dict[str, Tensor]:
    values = {"global_cosine": functional.cosine_similarity(whole, parts, dim=-1).mean()}
    if len(whole) > 2:  # two centred samples lie on a line in any features: CKA would always be 1
        values["global_cka"] = linear_cka(whole, parts)
    return values


class RetrievalAccuracy(NamedTuple):
    """How often a token finds its partner, and how often a blind guess would."""

    accuracy: Tensor  # scalar in [0,1]
    chance: Tensor  # scalar in [0,1]
    num_queries: int


@torch.no_grad()
def overlap_retrieval(
    features: Tensor,
    table: CorrespondenceTable,
    *,
    partner_features: Tensor | None = None,
    tolerance: float = 0.5,
) -> RetrievalAccuracy:
    """Overlap retrieval accuracy: does the most similar token of the partner tile see the same direction?

    For each correspondence of the table, the token of A asks ALL S tokens of B and takes the one with the
    largest cosine. It is a hit when that token's centre is at most `tolerance` tokens from the true position,
    in rows and in columns; 0.5 asks for the true partner token itself. Chance is the mean fraction of tokens
    that would be a hit.

    Args:
        features: [B,V,S,D].
        table: on the device of `features`.
        partner_features: where the tokens of B are read instead, [B,V,S,D]. Features of other panoramas there
            show what a code of the position in the tile earns without any content.
        tolerance: in tokens.
    """
    require_shape("overlap_retrieval", "features", features, "B,V,S,D", V=table.num_views, S=table.num_tokens)
    query = functional.normalize(features.float(), dim=-1)
    answer = query if partner_features is None else functional.normalize(partner_features.float(), dim=-1)
    view_a, view_b = table.views.unbind(-1)
    # Pair by pair: the cosines of one tile pair are a [B,S,S] block, those of all pairs would be P times
    # that.
    found = torch.stack(
        [
            torch.matmul(query[:, a], answer[:, b].mT).argmax(-1)
            for a, b in zip(view_a.tolist(), view_b.tolist(), strict=True)
        ],
        1,
    )
    pair = torch.repeat_interleave(table.offsets.diff()).to(features.device)
    choice = found[:, pair, table.index_a % table.num_tokens]
    centre = _token_centres(table.grid, features.device)
    hit = _close(centre[choice], table.partner, tolerance)
    possible = _close(centre[:, None], table.partner, tolerance)
    return RetrievalAccuracy(hit.float().mean(), possible.float().mean(), hit.numel())


def _token_centres(grid: tuple[int, int], device: torch.device) -> Tensor:
    token = torch.arange(grid[0] * grid[1], device=device)
    return torch.stack((token // grid[1], token % grid[1]), -1).float()


def _close(centre: Tensor, position: Tensor, tolerance: float) -> Tensor:
    return (centre - position).abs().amax(-1) <= tolerance


@torch.no_grad()
def effective_rank(features: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values of features [N,D]; from 1 to min(N,D)."""
    singular = torch.linalg.svdvals(features.float())
    share = (singular / (singular.sum() + 1e-8)).clamp_min(1e-8)
    return torch.exp(-(share * share.log()).sum())


@torch.no_grad()
def feature_std(features: Tensor) -> Tensor:
    """Mean over the dimensions of the standard deviation of features [N,D]; near zero after a collapse."""
    return features.float().std(0).mean()


@torch.no_grad()
def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    """Linear centred kernel alignment of x [N,D] and y [N,D']: a scalar in [0,1], 1 for equal geometries.

    ||Xc^T Yc||_F^2 / (||Xc^T Xc||_F ||Yc^T Yc||_F), columns centred. The products are taken as N x N matrices
    where that is smaller.
    """
    require_shape("linear_cka", "x", x, "N,D")
    require_shape("linear_cka", "y", y, "N,D", N=x.shape[0])
    x, y = (z.float() - z.float().mean(0) for z in (x, y))
    if len(x) < min(x.shape[1], y.shape[1]):
        kernel_x, kernel_y = x @ x.mT, y @ y.mT
        return (kernel_x * kernel_y).sum() / (kernel_x.norm() * kernel_y.norm() + _GUARD)
    return (x.mT @ y).norm().square() / ((x.mT @ x).norm() * (y.mT @ y).norm() + _GUARD)


@torch.no_grad()
def position_accuracy(tiles: Tensor, *, max_samples: int = 8) -> Tensor:
    """Can the tiles of a panorama be put back to their places, knowing those of the others? Scalar in [0,1].

    The mean tokens of the tiles of one sample are assigned one to one to the places, by cosine to the
    centroid of each place over the OTHER samples, optimally. 1/N is chance.

    Args:
        tiles: [B,N,S,D] of at least two samples.
        max_samples: only so many samples are asked; all help with the centroids.
    """
    require_shape("position_accuracy", "tiles", tiles, "B,N,S,D")
    if len(tiles) < 2:
        fail("position_accuracy", "tiles", "of at least two samples", len(tiles))
    pooled = functional.normalize(tiles.float().mean(2), dim=-1)
    others = functional.normalize(pooled.sum(0) - pooled, dim=-1)
    cosine = torch.matmul(pooled, others.mT)[:max_samples].cpu()
    places = torch.stack([optimal_assignment(-sample) for sample in cosine])
    return (places == torch.arange(tiles.shape[1])).float().mean().to(tiles.device)


def opposite_tiles(layout: ErpLayout) -> Tensor:
    """Each tile with the one farthest from it, if that is over 90 degrees away: int64 [P,2], i < j."""
    distance = tile_distance(layout)
    farthest = distance.max(1)
    far = farthest.values > _OPPOSITE
    pairs = torch.stack((torch.arange(len(distance)), farthest.indices), -1)[far]
    return pairs.sort(1).values.unique(dim=0)
