"""Tile pairs: strategies, estimates, errors."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.panorama.overlaps.pairs import tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout

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


def _rows_of_different_counts() -> ErpLayout:
    """Four tiles at -50, eight on the horizon, four at 50, one at each pole."""
    rows = [(-90.0, 1), (-50.0, 4), (0.0, 8), (50.0, 4), (90.0, 1)]
    cells = [
        (row, col, 360.0 * col / count, pitch)
        for row, (pitch, count) in enumerate(rows)
        for col in range(count)
    ]
    return ErpLayout.from_angles(
        [yaw for *_, yaw, _ in cells],
        [pitch for *_, pitch in cells],
        hfov_deg=90.0,
        cells=[(row, col) for row, col, *_ in cells],
    )


def test_polar_caps_meet_every_tile_of_the_next_row() -> None:
    """A cap has no yaw to speak of: all four tiles below it overlap with it alike."""
    layout = _rows_of_different_counts()
    pairs = tile_pairs(layout, PairRule("adjacent"))
    north = len(layout.tiles) - 1
    with_north = pairs.ij[:, 1] == north
    assert pairs.ij[with_north, 0].tolist() == [13, 14, 15, 16]
    torch.testing.assert_close(pairs.overlap[with_north], pairs.overlap[with_north][:1].expand(4))


def test_rows_of_different_counts() -> None:
    """Adjacent pairs are pairs that overlap; those left out lie in one row or two rows apart."""
    layout = _rows_of_different_counts()
    adjacent = {tuple(pair) for pair in tile_pairs(layout, PairRule("adjacent")).ij.tolist()}
    every = {tuple(pair) for pair in tile_pairs(layout, PairRule("all_pairs")).ij.tolist()}
    assert adjacent < every
    for a, b in every - adjacent:
        assert abs(layout.tiles[a].row - layout.tiles[b].row) != 1
    far = tile_pairs(layout, PairRule("distance_based", max_distance_deg=180.0))
    assert {tuple(pair) for pair in far.ij.tolist()} == every


def test_jitter_keeps_rows_and_neighbours() -> None:
    """Jittered rows have no common pitch; the rows of the layout still hold."""
    for layout in (ErpLayout.build(), TWO_ROWS):
        rule = PairRule("adjacent", min_overlap=0.05)
        before = tile_pairs(layout, rule).ij.tolist()
        for _ in range(3):
            assert tile_pairs(layout.jittered(5.0), rule).ij.tolist() == before
