"""Tile pairs: strategies, estimates, errors."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.pairs import PairRule, tile_pairs

TWO_ROWS = ErpLayout.build(pitch_min_deg=-67.5, pitch_max_deg=67.5)


@pytest.mark.parametrize("strategy", ["adjacent", "distance_based", "all_pairs"])
@pytest.mark.parametrize("estimate", ["box", "solid_angle"])
def test_strategies_agree_on_one_and_two_rows(strategy: str, estimate: str) -> None:
    rule = PairRule(strategy, estimate)
    assert len(tile_pairs(ErpLayout.build(), rule).ij) == 8
    assert len(tile_pairs(TWO_ROWS, PairRule(strategy, estimate, min_overlap=0.2)).ij) == 40


def test_solid_angles_of_two_rows() -> None:
    """Horizontal at pitch 22.5, vertical and diagonal overlaps of spec 11."""
    overlap = tile_pairs(TWO_ROWS).overlap
    values, counts = torch.unique(overlap.round(decimals=4), return_counts=True)
    assert values.tolist() == pytest.approx([0.2443, 0.4767, 0.5146], abs=1e-4)
    assert counts.tolist() == [16, 8, 16]


def test_box_estimate_of_two_rows() -> None:
    overlap = tile_pairs(TWO_ROWS, PairRule(estimate="box")).overlap
    assert sorted(set(overlap.tolist())) == [0.25, 0.5]


def test_distance_threshold_drops_pairs() -> None:
    layout = ErpLayout.build(hfov_deg=60.0, overlap=0.5)
    assert len(tile_pairs(layout, PairRule("distance_based", "box", max_distance_deg=40.0)).ij) == 36
    assert len(tile_pairs(layout, PairRule("distance_based", "box")).ij) == 60


def test_ring_is_closed_only_when_it_goes_round() -> None:
    half = ErpLayout.from_angles([0.0, 40.0, 80.0], [0.0] * 3, hfov_deg=60.0)
    assert tile_pairs(half).ij.tolist() == [[0, 1], [1, 2]]
    ring = ErpLayout.from_angles([-120.0, 0.0, 120.0], [0.0] * 3, hfov_deg=150.0)
    assert tile_pairs(ring).ij.tolist() == [[0, 1], [0, 2], [1, 2]]


def test_tiles_apart_make_no_pair() -> None:
    pairs = tile_pairs(ErpLayout.from_angles([0.0, 180.0], [0.0, 0.0], hfov_deg=60.0))
    assert (pairs.ij.shape, pairs.overlap.shape) == ((0, 2), (0,))


def test_errors() -> None:
    with pytest.raises(ValueError, match="strategy"):
        PairRule("nearest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="estimate"):
        PairRule(estimate="guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min_overlap"):
        PairRule(min_overlap=1.0)
