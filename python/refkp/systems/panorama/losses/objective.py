"""Which loss the vision stage is trained for: the `loss:` section of a configuration, and its one dispatch.

Source: spec panorama 3 and 4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from refkp._checks import fail, require_choice
from refkp.systems.panorama.losses import (
    Distance,
    LossTerms,
    Scope,
    VICRegLOptions,
    VICRegOptions,
    densecl,
    global_local,
    overlap_vicreg,
    overlap_vicregl,
    pano_contrastive,
    sequential_strip_vicreg,
)
from refkp.systems.panorama.losses.overlap import SCOPES
from refkp.systems.panorama.model.vision import VisionFeatures
from refkp.systems.panorama.overlaps.correspondence import CorrespondenceTable, require_global_view
from refkp.systems.panorama.overlaps.gather import gather_pairs, unit_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout

Kind = Literal["overlap", "sequential", "vicregl", "densecl", "pano_contrastive", "global_local", "none"]
KINDS = ("overlap", "sequential", "vicregl", "densecl", "pano_contrastive", "global_local", "none")


@dataclass(frozen=True)
class ContrastiveOptions:
    """The constants of "densecl" and "pano_contrastive".

    Args:
        temperature: of the cosines between views.
        tile_temperature: of the cosines within a view.
        tile_weight: of the loss within the views.
        chunk: rows of the logits held at a time; None holds those of a pair of views in all samples.
    """

    temperature: float = 0.07
    tile_temperature: float = 0.2
    tile_weight: float = 0.1
    chunk: int | None = None


@dataclass(frozen=True)
class LossSpec:
    """Which loss the features of the vision stage are trained for.

    Args:
        kind: "overlap": VICReg of tokens that see the same direction; "sequential": of facing strips of
            consecutive tiles; "vicregl": of tokens that find their partners; "densecl", "pano_contrastive":
            contrast of tokens that see the same direction; "global_local": the panorama against its tiles;
            "none": for stages that train on text alone and never ask for this loss.
        scope: of "overlap": statistics over one "pair" of tiles in one sample, over each "position" of the
            batch, or over "all" correspondences of the batch.
        pairs: which views are compared.
        margin: distance to the partner's border that a correspondence keeps, in tokens.
        overlap_ratio: of "sequential": part of a tile that its strip takes.
        vicreg: constants of the VICReg terms of "overlap" and "sequential".
        vicregl: constants of "vicregl".
        contrastive: constants of the contrastive losses.
        distance: of "global_local".
        global_local_weight: how much of the "global_local" loss is added to another kind.
    """

    kind: Kind = "overlap"
    scope: Scope = "pair"
    pairs: PairRule = field(default_factory=lambda: PairRule("all_pairs", min_overlap=0.1))
    margin: float = 0.5
    overlap_ratio: float = 0.5
    vicreg: VICRegOptions = field(default_factory=VICRegOptions)
    vicregl: VICRegLOptions = field(default_factory=VICRegLOptions)
    contrastive: ContrastiveOptions = field(default_factory=ContrastiveOptions)
    distance: Distance = "cosine"
    global_local_weight: float = 0.0

    def __post_init__(self) -> None:
        require_choice("LossSpec", "kind", self.kind, KINDS)
        require_choice("LossSpec", "scope", self.scope, SCOPES)
        require_choice("LossSpec", "distance", self.distance, ("cosine", "mse"))
        if self.global_local_weight < 0:
            fail("LossSpec", "global_local_weight", "0 or more", self.global_local_weight)
        if self.global_local_weight and self.kind in ("global_local", "none"):
            fail("LossSpec", "global_local_weight", f"0 for kind {self.kind!r}", self.global_local_weight)


def vision_loss(
    spec: LossSpec,
    features: VisionFeatures,
    layout: ErpLayout,
    table: CorrespondenceTable,
    head: Callable[[Tensor], Tensor],
) -> LossTerms:
    """The loss of `spec` on the features of a batch, with float32 statistics.

    Args:
        spec: which loss.
        features: of every view of every sample.
        layout: the views.
        table: correspondences of the layout on the device of the features.
        head: the VICReg head, for "pano_contrastive", which compares two of its dropout samples.

    Raises:
        ValueError: views or tokens do not match layout and table; "global_local" without a global view;
            "pano_contrastive" whose head has no dropout; scope "position" or "vicregl" with one sample; "none".
    """
    if spec.kind == "none":
        fail("vision_loss", "kind", "a loss", "'none'", "Leave the call out, or name a loss in `loss.kind`.")
    if table.num_views != layout.num_views:
        fail("vision_loss", "table", f"of the {layout.num_views} views of the layout", table.num_views)
    if spec.kind == "pano_contrastive":
        loss = _pano_contrastive(spec, features, table, head)
    else:
        loss = _LOSSES[spec.kind](spec, features.projected.float(), layout, table)
    if spec.global_local_weight:
        extra = _global_local(spec, features.projected.float(), layout, table)
        total = loss.total + spec.global_local_weight * extra.total
        loss = LossTerms(
            total, {**loss.terms, "global_local": extra.total}, f"{loss.loss_path}+{extra.loss_path}"
        )
    return loss


def _overlap(spec: LossSpec, tokens: Tensor, layout: ErpLayout, table: CorrespondenceTable) -> LossTerms:
    return overlap_vicreg(tokens, table, spec.vicreg, scope=spec.scope)


def _sequential(spec: LossSpec, tokens: Tensor, layout: ErpLayout, table: CorrespondenceTable) -> LossTerms:
    return sequential_strip_vicreg(
        tokens[:, layout.first_tile :], table.grid, spec.overlap_ratio, spec.vicreg
    )


def _vicregl(spec: LossSpec, tokens: Tensor, layout: ErpLayout, table: CorrespondenceTable) -> LossTerms:
    return overlap_vicregl(tokens, layout, table, spec.vicregl)


def _densecl(spec: LossSpec, tokens: Tensor, layout: ErpLayout, table: CorrespondenceTable) -> LossTerms:
    pairs = gather_pairs(tokens, table, group="pair")
    return densecl(pairs, temperature=spec.contrastive.temperature, chunk=spec.contrastive.chunk)


def _global_local(spec: LossSpec, tokens: Tensor, layout: ErpLayout, table: CorrespondenceTable) -> LossTerms:
    require_global_view("vision_loss", layout)
    return global_local(tokens[:, 0], tokens[:, layout.first_tile :], distance=spec.distance)


_LOSSES = {
    "overlap": _overlap,
    "sequential": _sequential,
    "vicregl": _vicregl,
    "densecl": _densecl,
    "global_local": _global_local,
}


def _pano_contrastive(
    spec: LossSpec, features: VisionFeatures, table: CorrespondenceTable, head: Callable[[Tensor], Tensor]
) -> LossTerms:
    """The projected features are one dropout sample of the head; the head is asked for another."""
    _require_dropout(head)
    first, second = (
        functional.normalize(sample.float(), dim=-1)
        for sample in (features.projected, head(features.tokens.float()))
    )
    pairs = unit_pairs(gather_pairs(first, table, partner_features=second, group="pair"))
    options = spec.contrastive
    return pano_contrastive(
        pairs,
        first.flatten(0, 1),
        second.flatten(0, 1),
        temperature=options.temperature,
        tile_temperature=options.tile_temperature,
        tile_weight=options.tile_weight,
        chunk=options.chunk,
    )


def _require_dropout(head: Callable[[Tensor], Tensor]) -> None:
    parts = head.modules() if isinstance(head, nn.Module) else ()
    if not any(isinstance(part, nn.Dropout) and part.p > 0 for part in parts):
        remedy = "Set `head_dropout`, e.g. to 0.1: without it both samples are the same."
        fail("vision_loss", "head", "a module with dropout for 'pano_contrastive'", "none", remedy)
