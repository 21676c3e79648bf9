"""Losses of the vision stage: pure functions of token features, one per way of comparing them.

`gather_pairs` says which tokens see the same direction and `strip_pairs` which lie in facing strips of
consecutive views; `overlap_vicreg`, `densecl` and `pano_contrastive` compare what they pair. `vicregl`
finds its own partners, `global_local` compares pooled views. Source: spec panorama 3.
"""

from refkp.systems.panorama.losses.contrastive import densecl, info_nce, pano_contrastive
from refkp.systems.panorama.losses.global_local import Distance, global_local
from refkp.systems.panorama.losses.overlap import Scope, overlap_vicreg
from refkp.systems.panorama.losses.ranks import gather_samples, shared_vicreg
from refkp.systems.panorama.losses.strips import (
    Strips,
    ring_strip_vicreg,
    sequential_strip_vicreg,
    sequential_strips,
    strip_pairs,
)
from refkp.systems.panorama.losses.terms import LossTerms, VICRegOptions
from refkp.systems.panorama.losses.vicregl import (
    RegionView,
    VICRegLOptions,
    multicrop_pairs,
    overlap_vicregl,
    vicregl,
)

__all__ = [
    "Distance",
    "LossTerms",
    "RegionView",
    "Scope",
    "Strips",
    "VICRegLOptions",
    "VICRegOptions",
    "densecl",
    "gather_samples",
    "global_local",
    "info_nce",
    "multicrop_pairs",
    "overlap_vicreg",
    "overlap_vicregl",
    "pano_contrastive",
    "ring_strip_vicreg",
    "sequential_strip_vicreg",
    "sequential_strips",
    "shared_vicreg",
    "strip_pairs",
    "vicregl",
]
