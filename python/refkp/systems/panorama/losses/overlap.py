"""VICReg between the tokens of two tiles that see the same direction. Source: spec panorama 3.5 and 12."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from refkp._checks import require_choice
from refkp.ops import vicreg
from refkp.systems.panorama.losses.ranks import require_equal_on_ranks, shared_vicreg
from refkp.systems.panorama.losses.terms import LossTerms, VICRegOptions, mean_terms
from refkp.systems.panorama.overlaps.correspondence import CorrespondenceTable
from refkp.systems.panorama.overlaps.gather import gather_pairs

#: Which tokens the variance and the covariance describe.
Scope = Literal["pair", "position", "all"]
SCOPES = ("pair", "position", "all")


def overlap_vicreg(
    features: Tensor,
    table: CorrespondenceTable,
    options: VICRegOptions = VICRegOptions(),  # noqa: B008 (frozen)
    *,
    scope: Scope = "pair",
    backend: str | None = None,
) -> LossTerms:
    """VICReg between the tokens of two views that see the same direction.

    total = mean over segments s of a inv_s + b var_s + c cov_s, terms of `ops.vicreg`.

    Args:
        features: [B,V,S,D], every view of every sample, float32 statistics.
        table: the correspondences of the layout, on the device of `features`.
        scope: which tokens the variance and the covariance describe: those of one "pair" of views in one
            sample; those of one "position", the same correspondence in all samples of the batch; or "all"
            correspondences of the batch. The last two cover the batches of all ranks of a distributed run.
        options, backend: as in `ops.vicreg`.

    Returns:
        Scalars; gradients reach `features`.

    Raises:
        ValueError: scope "position" with fewer than two samples, or with other layouts on other ranks.
    """
    require_choice("overlap_vicreg", "scope", scope, SCOPES)
    if scope == "pair":
        x, y, offsets = gather_pairs(features, table)
        terms = vicreg(x, y, offsets, **options.arguments(), backend=backend)
        return mean_terms(options, terms, "overlap/pair")
    group: Literal["position", "sample_pair"] = "position" if scope == "position" else "sample_pair"
    pairs = gather_pairs(features, table, group=group)
    sets = table.index_a.numel() if scope == "position" else 1
    if scope == "position":
        digest = torch.stack((table.index_a.sum(), (table.taps_b * table.taps_b).sum()))
        require_equal_on_ranks("overlap_vicreg", "table", digest, "Scope 'position' needs one layout.")
    x, y = (z.view(sets, -1, z.shape[-1]) for z in pairs[:2])
    return shared_vicreg(x, y, options, backend=backend)._replace(loss_path=f"overlap/{scope}")
