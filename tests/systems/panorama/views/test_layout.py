"""Tile layouts: counts, records, identity, errors."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given, settings
from hypothesis import strategies as st

from refkp.systems.panorama.overlaps.correspondence import correspondence_table
from refkp.systems.panorama.overlaps.pairs import tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.coverage import layout_report
from refkp.systems.panorama.views.layout import LETTERBOX, ErpLayout
from refkp.systems.panorama.views.placement import tile_centres
from refkp.systems.panorama.views.records import global_record
from refkp.systems.panorama.views.spec import LayoutSpec


@pytest.mark.parametrize(
    ("hfov", "overlap", "closed", "pitch", "phase", "tiles"),
    [
        (90, 0.5, True, (-45, 45), 0, 8),
        (90, 0.2, False, (-45, 45), 0, 4),
        (90, 0.2, True, (-45, 45), 0, 5),
        (90, 0.5, False, (-45, 45), 0, 7),
        (90, 0.5, True, (-67.5, 67.5), 0, 16),
        (60, 0.5, True, (-45, 45), 0, 24),
        (60, 0.25, True, (-60, 60), 10, 16),
        (45, 0.0, True, (0, 0), 0, 8),
        (45, 0.25, True, (0, 0), 0, 11),
    ],
)
def test_counts(
    hfov: float, overlap: float, closed: bool, pitch: tuple[float, float], phase: float, tiles: int
) -> None:
    """The table of spec 2.3."""
    layout = ErpLayout.build(
        hfov_deg=hfov,
        overlap=overlap,
        closed_loop_yaw=closed,
        yaw_phase_deg=phase,
        pitch_min_deg=pitch[0],
        pitch_max_deg=pitch[1],
    )
    assert len(layout.tiles) == tiles
    assert layout.num_views == tiles + 1


def test_open_layout_keeps_the_order_of_generation() -> None:
    layout = ErpLayout.build(overlap=0.2, closed_loop_yaw=False)
    assert [tile.yaw_deg for tile in layout.tiles] == pytest.approx([-135, -63, 9, 81])


@pytest.mark.parametrize(
    ("phase", "yaws"), [(60.0, [-75, -3, 69]), (-60.0, [165, -123, -51, 21, 93]), (5.0, [-130, -58, 14, 86])]
)
def test_phase_of_an_open_layout_moves_its_start_alone(phase: float, yaws: list[float]) -> None:
    """Spec 2.2: from -180 + hfov/2 + phase while below 180 - hfov/2."""
    layout = ErpLayout.build(overlap=0.2, closed_loop_yaw=False, yaw_phase_deg=phase)
    assert [tile.yaw_deg for tile in layout.tiles] == pytest.approx(yaws)


def test_phase_that_leaves_an_open_row_without_tiles_raises() -> None:
    with pytest.raises(ValueError, match="yaw_phase_deg"):
        ErpLayout.build(closed_loop_yaw=False, yaw_phase_deg=300.0)


def test_closed_layout_starts_at_yaw_zero_in_spite_of_rounding() -> None:
    yaws = [
        tile.yaw_deg for tile in ErpLayout.build(hfov_deg=19.0, overlap=0.0, yaw_phase_deg=180 / 19).tiles
    ]
    assert yaws[0] == pytest.approx(0, abs=1e-9)
    assert yaws[1] == pytest.approx(360 / 19)


def test_seam_centre_comes_first_unless_it_is_there() -> None:
    with_seam = ErpLayout.build(hfov_deg=72.0, overlap=0.1, closed_loop_yaw=False, include_seam_center=True)
    assert with_seam.tiles[0].yaw_deg == -180
    ring = ErpLayout.build(include_seam_center=True)
    assert [tile.yaw_deg for tile in ring.tiles] == [0, 45, 90, 135, -180, -135, -90, -45]


def test_full_span_clips_the_pitch_range() -> None:
    layout = ErpLayout.build(pitch_full_span=True, pitch_min_deg=-90.0, pitch_max_deg=90.0)
    assert {tile.pitch_deg for tile in layout.tiles} == {-44.5, 0.5}


def test_records_state_their_kind() -> None:
    layout = ErpLayout.build()
    first, second = layout.views[:2]
    assert (first.kind, first.tile_id, first.letterbox) == ("global", -1, LETTERBOX)
    assert (second.kind, second.tile_id, second.view_index) == ("tile", 0, 1)
    assert [view.view_index for view in layout.views] == list(range(9))


def test_convention_forward_is_right_up_forward() -> None:
    layout = ErpLayout.from_angles([90.0, 0.0], [0.0, 30.0], hfov_deg=60.0)
    want = torch.tensor([[1, 0, 0], [0, 0.5, 0.75**0.5]], dtype=torch.float64)
    torch.testing.assert_close(torch.stack([tile.forward_xyz for tile in layout.tiles]), want)
    torch.testing.assert_close(layout.rotations[..., 2], want)


def test_json_round_trip_keeps_the_hash() -> None:
    layout = ErpLayout.build(hfov_deg=60.0, overlap=0.3, yaw_phase_deg=7.0)
    again = ErpLayout.from_json(layout.to_json())
    assert again == layout
    assert again.hash == layout.hash != ErpLayout.build().hash


def test_hash_is_the_same_everywhere() -> None:
    """A changed digest would silently separate stored layouts from the ones built now."""
    assert ErpLayout.build().hash == "81159f995bddf1ce"


def test_equal_layouts_have_equal_hashes() -> None:
    zero, minus_zero = (ErpLayout.from_angles([0], [pitch], hfov_deg=90) for pitch in (0.0, -0.0))
    assert zero == minus_zero
    assert zero.hash == minus_zero.hash


def test_coverage_and_multiplicity() -> None:
    """Six cube faces see everything once; the default ring covers 69.8 %, twice almost everywhere."""
    cube = ErpLayout.from_angles([0, 90, 180, -90, 0, 0], [0, 0, 0, 0, 90, -90], hfov_deg=90.0)
    assert cube.coverage()[1] == pytest.approx(1.0, abs=5e-3)
    ring = ErpLayout.build()
    unseen, once, twice = ring.coverage()
    assert 1 - unseen == pytest.approx(0.698, abs=5e-3)
    solid_angles = 8 * (2 * torch.pi / 3) / (4 * torch.pi)
    assert once + 2 * twice == pytest.approx(solid_angles, abs=5e-3)


def test_jitter_turns_tiles_within_bounds() -> None:
    layout = ErpLayout.build()
    turned = layout.jittered(10.0)
    assert turned.has_global_view
    assert turned != layout
    for before, after in zip(layout.tiles, turned.tiles, strict=True):
        assert abs((after.yaw_deg - before.yaw_deg + 180) % 360 - 180) <= 10
        assert abs(after.pitch_deg) <= 10
        assert abs(after.roll_deg) <= 20


def cover(**parameters: Any) -> ErpLayout:
    return ErpLayout.build(LayoutSpec(mode="cover", **parameters))


WHOLE = {"pitch_min_deg": -90.0, "pitch_max_deg": 90.0}


@pytest.mark.parametrize("caps", [False, True])
@pytest.mark.parametrize("by_latitude", [False, True])
def test_cover_sees_the_whole_sphere(caps: bool, by_latitude: bool) -> None:
    report = layout_report(cover(**WHOLE, polar_caps=caps, yaw_by_latitude=by_latitude))
    assert report.coverage == pytest.approx(1.0, abs=1e-12)
    assert report.pitch_overlap == pytest.approx(0.5)
    assert [row.num_views for row in report.rows][1 if caps else 0] == (6 if by_latitude else 8)


def test_cover_without_overlap_is_the_cube() -> None:
    layout = cover(**WHOLE, overlap=0.0, polar_caps=True, global_view=False)
    axes = torch.stack([tile.forward_xyz for tile in layout.tiles]).round().int().tolist()
    assert sorted(axes) == [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert layout_report(layout).solid_angle == pytest.approx(4 * math.pi)


@settings(max_examples=12)
@given(
    fov=st.floats(60, 120),
    overlap=st.floats(0.3, 0.6),
    phase=st.floats(-180, 180),
    caps=st.booleans(),
)
def test_cover_property_whole_sphere(fov: float, overlap: float, phase: float, caps: bool) -> None:
    layout = cover(**WHOLE, hfov_deg=fov, overlap=overlap, yaw_phase_deg=phase, polar_caps=caps)
    report = layout_report(layout, height=60)
    assert report.coverage == pytest.approx(1.0, abs=1e-12)
    assert all(row.overlap >= overlap - 1e-9 for row in report.rows if abs(row.pitch_deg) < 1)
    # Counted on a grid, every tile has its solid angle.
    counted = sum(k * share for k, share in enumerate(report.multiplicity))
    assert counted == pytest.approx(report.solid_angle / (4 * math.pi), rel=0.03)


@given(
    fov=st.floats(20, 120),
    overlap=st.floats(0, 0.9),
    low=st.floats(-90, 89),
    high=st.floats(-90, 90),
)
def test_cover_property_edges_meet_the_range(fov: float, overlap: float, low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    pitches = sorted({tile_centre.pitch_deg for tile_centre in tile_centres(
        LayoutSpec("cover", fov, overlap=overlap, pitch_min_deg=low, pitch_max_deg=high))})  # fmt: skip
    if high - low <= fov:
        assert pitches == [pytest.approx((low + high) / 2)]
        return
    assert (pitches[0] - fov / 2, pitches[-1] + fov / 2) == pytest.approx((low, high), abs=1e-6)
    steps = [after - before for before, after in pairwise(pitches)]
    assert max(steps) <= fov * (1 - overlap) + 1e-6
    assert max(steps) - min(steps) < 1e-6


def test_rows_of_different_counts_pair_and_correspond() -> None:
    layout = cover(**WHOLE, polar_caps=True, yaw_by_latitude=True)
    assert [row.num_views for row in layout_report(layout).rows] == [1, 6, 8, 6, 1]
    pairs = tile_pairs(layout, PairRule("all_pairs", min_overlap=0.1))
    assert set(pairs.ij.flatten().tolist()) == set(range(22))
    table = correspondence_table(layout, (6, 6), PairRule("all_pairs", min_overlap=0.1))
    assert table.num_views == 23


def test_report_of_the_original_layout() -> None:
    """Builder default: four open tiles leave 126..180 degrees uncovered (spec 2.3)."""
    report = layout_report(ErpLayout.build(overlap=0.2, closed_loop_yaw=False))
    (row,) = report.rows
    assert (row.num_views, row.pitch_deg, report.pitch_overlap) == (4, 0.0, None)
    assert row.overlap == pytest.approx(1 - 144 / 90)
    assert report.solid_angle == pytest.approx(4 * 2 * math.pi / 3)
    assert sum(report.multiplicity) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"pitch_min_deg": -30.0, "pitch_max_deg": 30.0}, "room for one row"),
        ({"hfov_deg": 180.0}, r"`hfov_deg` must be inside \(0,180\)"),
        ({"vfov_deg": 0.0}, r"`vfov_deg` must be inside \(0,180\)"),
        ({"overlap": 1.0}, r"`overlap` must be in \[0,1\)"),
        ({"overlap": -0.1}, r"`overlap` must be in \[0,1\)"),
        ({"pitch_min_deg": 10.0, "pitch_max_deg": 0.0}, "at most `pitch_max_deg`"),
        ({"mode": "spiral"}, "'original'"),
        ({"polar_caps": True}, "mode 'original'"),
        ({"yaw_by_latitude": True}, "mode 'original'"),
        ({"mode": "cover", "closed_loop_yaw": False}, "closed_loop_yaw"),
        ({"mode": "cover", "pitch_full_span": True}, "pitch_full_span"),
        ({"mode": "cover", "pitch_min_deg": -100.0}, r"in \[-90,90\]"),
        ({"mode": "cover", "polar_caps": True}, "Set them to -90 and 90"),
    ],
)
def test_errors(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ErpLayout.build(LayoutSpec(**parameters))


def test_a_layout_needs_views() -> None:
    with pytest.raises(ValueError, match="at least one view"):
        ErpLayout(())
    with pytest.raises(ValueError, match="at least one tile"):
        ErpLayout.from_angles([], [], hfov_deg=90.0)
    tile = ErpLayout.build().tiles[0]
    with pytest.raises(ValueError, match="then crops, then tiles"):
        ErpLayout((replace(tile, view_index=0), replace(global_record(), view_index=1)))
    with pytest.raises(ValueError, match="schema"):
        ErpLayout.from_json('{"schema": 9, "views": []}')
