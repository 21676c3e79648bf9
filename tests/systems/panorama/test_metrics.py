"""Overlap retrieval and collapse measures on features whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from refkp.geometry import sphere
from refkp.systems.panorama.correspondence import correspondence_table
from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.metrics import effective_rank, feature_std, overlap_retrieval

LAYOUT = ErpLayout.build()
TABLE = correspondence_table(LAYOUT, (8, 8))


def _direction_features() -> torch.Tensor:
    """Unit directions of the tokens [1,9,64,3]: the nearest direction has the largest cosine."""
    ray = sphere.tangent_grid(8, 8, LAYOUT.half_tangents)
    direction = torch.einsum("nij,nhwj->nhwi", LAYOUT.rotations, ray).flatten(1, 2)
    unit = functional.normalize(direction, dim=-1)
    return torch.cat((torch.zeros_like(unit[:1]), unit))[None]


def test_directions_find_their_partner() -> None:
    """Almost all: the nearest direction and the nearest grid position differ for a token between two."""
    retrieval = overlap_retrieval(_direction_features(), TABLE)
    assert float(retrieval.accuracy) > 0.9
    assert retrieval.num_queries == TABLE.index_a.numel()
    assert float(overlap_retrieval(_direction_features(), TABLE, tolerance=1.0).accuracy) == 1.0


def test_chance() -> None:
    """Random features hit one token in 64."""
    retrieval = overlap_retrieval(torch.randn(40, 9, 64, 16), TABLE)
    assert float(retrieval.chance) == pytest.approx(1 / 64, rel=0.05)
    assert float(retrieval.accuracy) == pytest.approx(1 / 64, rel=0.3)


def test_partner_features_replace_the_answers() -> None:
    features = torch.randn(2, 9, 64, 16)
    swapped = overlap_retrieval(features, TABLE, partner_features=features.roll(1, 0))
    assert float(swapped.accuracy) < 0.05


def test_effective_rank() -> None:
    assert float(effective_rank(torch.eye(7))) == pytest.approx(7, rel=1e-4)
    assert float(effective_rank(torch.ones(9, 5))) == pytest.approx(1, abs=1e-3)


def test_feature_std_sees_a_collapse() -> None:
    assert float(feature_std(torch.ones(9, 5))) == 0
    assert float(feature_std(torch.randn(4000, 5))) == pytest.approx(1, abs=0.05)


def test_errors() -> None:
    with pytest.raises(ValueError, match="S=64"):
        overlap_retrieval(torch.randn(1, 9, 36, 4), TABLE)
