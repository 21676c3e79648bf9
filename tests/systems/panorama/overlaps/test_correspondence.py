"""Token correspondences: geometry, interpolation, determinism, errors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from refkp.geometry import sphere
from refkp.systems.panorama.overlaps.correspondence import (
    correspondence_table,
    project_tokens,
    require_grid,
    tile_token_directions,
)
from refkp.systems.panorama.overlaps.gather import gather_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout

LAYOUT = ErpLayout.build()
GRID = (14, 14)


def _directions(layout: ErpLayout, grid: tuple[int, int]) -> torch.Tensor:
    """Unit direction of every token of every view [1,V,S,3]; those of the global view are NaN."""
    ray = sphere.tangent_grid(*grid, layout.half_tangents)
    direction = torch.einsum("nij,nhwj->nhwi", layout.rotations, ray).flatten(1, 2)
    unit = functional.normalize(direction, dim=-1)
    return torch.cat((torch.full_like(unit[:1], torch.nan), unit))[None]


def test_a_tile_corresponds_to_itself() -> None:
    rotation, tangent = LAYOUT.rotations[:1], LAYOUT.half_tangents[:1]
    projection = project_tokens(rotation, rotation, tangent, tangent, (5, 7))
    assert bool(projection.visible.all())
    rows, cols = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    torch.testing.assert_close(projection.row[0].float(), rows)
    torch.testing.assert_close(projection.col[0].float(), cols)


def test_default_ring_has_92_of_196_tokens_per_ordered_pair() -> None:
    table = correspondence_table(LAYOUT, GRID, margin=0.0)
    assert table.views.shape == (16, 2)
    assert set(table.offsets.diff().tolist()) == {92}
    assert int(table.views.min()) == 1  # never the global view


def test_both_sides_see_the_same_direction() -> None:
    """Within the sag of bilinear interpolation between token centres."""
    table = correspondence_table(LAYOUT, GRID)
    x, y, _ = gather_pairs(_directions(LAYOUT, GRID), table)
    angle = sphere.great_circle_distance(x, y)
    assert float(torch.rad2deg(angle).max()) < 0.15


def test_partner_and_taps_agree() -> None:
    table = correspondence_table(LAYOUT, GRID)
    taps = table.taps_b % (GRID[0] * GRID[1])
    centre = torch.stack((taps // GRID[1], taps % GRID[1]), -1)
    torch.testing.assert_close((centre * table.weights[..., None]).sum(1), table.partner, atol=1e-5, rtol=0)
    torch.testing.assert_close(table.weights.sum(1), torch.ones(len(taps)))


def test_a_common_rotation_changes_nothing() -> None:
    """Relative geometry decides: yaw shifted tiles have the table of the unshifted ones."""
    table, shifted = (
        correspondence_table(ErpLayout.build(yaw_phase_deg=phase), GRID) for phase in (0.0, 13.0)
    )
    torch.testing.assert_close(table.partner, shifted.partner)


def test_margin_keeps_the_taps_inside() -> None:
    table = correspondence_table(LAYOUT, GRID, margin=0.5)
    assert float(table.partner.min()) >= 0
    assert float(table.partner.max()) <= 13


def test_tables_are_cached() -> None:
    assert correspondence_table(ErpLayout.build(), GRID) is correspondence_table(ErpLayout.build(), GRID)


def test_errors() -> None:
    apart = ErpLayout.from_angles([0.0, 180.0], [0.0, 0.0], hfov_deg=60.0)
    with pytest.raises(ValueError, match="pairs of tiles that overlap; got none of 2 tiles"):
        correspondence_table(apart, GRID)
    with pytest.raises(ValueError, match="that two tiles share"):
        correspondence_table(ErpLayout.from_angles([0.0, 88.0], [0.0, 0.0], hfov_deg=90.0), (2, 2))
    with pytest.raises(ValueError, match="token-preserving"):
        require_grid("VisionStage", 197, GRID)


def test_pairs_follow_the_rule() -> None:
    two_rows = ErpLayout.build(pitch_min_deg=-67.5, pitch_max_deg=67.5)
    table = correspondence_table(two_rows, GRID, PairRule("all_pairs", min_overlap=0.3))
    assert table.views.shape == (2 * 24, 2)


def test_the_global_view_shows_the_direction_of_every_tile_token() -> None:
    """In the letterboxed panorama the continuous position leads back to the token's direction."""
    table = correspondence_table(LAYOUT, GRID, PairRule(include_global=True))
    to_global = [p for p, (_, b) in enumerate(table.views.tolist()) if b == 0]
    assert [table.views[p, 0].item() for p in to_global] == list(range(1, 9))
    rows = slice(int(table.offsets[to_global[0]]), int(table.offsets[to_global[-1] + 1]))
    row, col = table.partner[rows].double().unbind(-1)
    v = (row + 0.5 - 3.5) / 7  # the panorama fills the rows 3.5 to 10.5 of 14
    seen = sphere.direction_from_lonlat(((col + 0.5) / 14 - 0.5) * 2 * torch.pi, (0.5 - v) * torch.pi)
    own = tile_token_directions(LAYOUT, GRID).flatten(0, 1)[table.index_a[rows] - 196]
    torch.testing.assert_close(seen, own, atol=1e-5, rtol=0)
    without = correspondence_table(LAYOUT, GRID)
    assert int(without.offsets[-1]) == int(table.offsets[to_global[0]])


def test_taps_in_the_global_view_go_round_the_seam() -> None:
    layout = ErpLayout.from_angles([-180.0, -150.0], [0.0, 0.0], hfov_deg=60.0, global_view=True)
    table = correspondence_table(layout, GRID, PairRule(include_global=True))
    taps = table.taps_b[int(table.offsets[2]) : int(table.offsets[3])] % 14
    first, last = (taps == 0).any(1), (taps == 13).any(1)
    assert bool((first & last).any())
    torch.testing.assert_close(table.weights.sum(1), torch.ones(len(table.weights)))


def test_without_a_global_view_it_cannot_be_included() -> None:
    with pytest.raises(ValueError, match="with a global view"):
        correspondence_table(ErpLayout.build(global_view=False), GRID, PairRule(include_global=True))
