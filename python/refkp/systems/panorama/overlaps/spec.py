"""Which tiles are compared: the `pairs:` section of a configuration. Without torch, as `views.spec`.

Source: spec panorama 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refkp._checks import fail, require_choice

Strategy = Literal["adjacent", "distance_based", "all_pairs"]
Estimate = Literal["box", "solid_angle"]


@dataclass(frozen=True)
class PairRule:
    """How view pairs are chosen.

    Args:
        strategy: "adjacent": neighbours in a pitch row, closed at the seam, and tiles of consecutive rows
            whose yaw differs by less than their field of view or of which one sees a pole, where a yaw tells
            little; "distance_based": centres closer than
            `max_distance_deg`; "all_pairs": all.
        estimate: of the overlap: "solid_angle" (the shared solid angle over the smaller tile's, exact) or
            "box" (the original's product of yaw and pitch overlaps, meaningless near the poles).
        min_overlap: only pairs with a larger overlap are kept; in [0,1).
        max_distance_deg: great-circle threshold of "distance_based".
        include_global: pair each tile with the letterboxed panorama too (not a tile pair: `tile_pairs` leaves
            it to `correspondence_table`).
    """

    strategy: Strategy = "adjacent"
    estimate: Estimate = "solid_angle"
    min_overlap: float = 0.01
    max_distance_deg: float = 120.0
    include_global: bool = False

    def __post_init__(self) -> None:
        require_choice("PairRule", "strategy", self.strategy, ("adjacent", "distance_based", "all_pairs"))
        require_choice("PairRule", "estimate", self.estimate, ("box", "solid_angle"))
        if not 0 <= self.min_overlap < 1:
            fail("PairRule", "min_overlap", "in [0,1)", self.min_overlap)
