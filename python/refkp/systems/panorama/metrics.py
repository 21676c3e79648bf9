"""What the token features know about overlaps, and whether they collapsed. Source: spec panorama 5."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from refkp._checks import require_shape
from refkp.systems.panorama.correspondence import CorrespondenceTable


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
