"""Which loss the vision stage is trained for: the `loss:` section of a configuration, and its one dispatch.

Source: spec panorama 3 and 4.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from refkp._checks import require_choice
from refkp.systems.panorama.correspondence import CorrespondenceTable
from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.losses import (
    OverlapLoss,
    VICRegOptions,
    overlap_vicreg,
    sequential_strip_vicreg,
)
from refkp.systems.panorama.model import VisionFeatures
from refkp.systems.panorama.pairs import PairRule


@dataclass(frozen=True)
class LossSpec:
    """Which overlap loss.

    Args:
        kind: "overlap" compares tokens that see the same direction, "sequential" facing strips of consecutive
            tiles.
        scope: of "overlap": statistics over one "pair" of tiles, or over "all" correspondences of the batch.
        pairs: of "overlap": which tiles are compared.
        margin: of "overlap": distance to the partner's border that a correspondence keeps, in tokens.
        overlap_ratio: of "sequential": part of a tile that its strip takes.
        vicreg: constants of the VICReg terms.
    """

    kind: Literal["overlap", "sequential"] = "overlap"
    scope: Literal["pair", "all"] = "pair"
    pairs: PairRule = field(default_factory=lambda: PairRule("all_pairs", min_overlap=0.1))
    margin: float = 0.5
    overlap_ratio: float = 0.5
    vicreg: VICRegOptions = field(default_factory=VICRegOptions)

    def __post_init__(self) -> None:
        require_choice("LossSpec", "kind", self.kind, ("overlap", "sequential"))


def vision_loss(
    spec: LossSpec,
    features: VisionFeatures,
    layout: ErpLayout,
    table: CorrespondenceTable,
    head: Callable[[Tensor], Tensor],
) -> OverlapLoss:
    """The loss of `spec` on the features of a batch, with float32 statistics.

    Args:
        spec: which loss.
        features: of every view of every sample.
        layout: the views.
        table: correspondences of the layout on the device of the features.
        head: the VICReg head, for losses that compare two of its dropout samples.
    """
    projected = features.projected.float()
    if spec.kind == "overlap":
        return overlap_vicreg(projected, table, spec.vicreg, scope=spec.scope)
    tiles = projected[:, 1:] if layout.has_global_view else projected
    return sequential_strip_vicreg(tiles, table.grid, spec.overlap_ratio, spec.vicreg)
