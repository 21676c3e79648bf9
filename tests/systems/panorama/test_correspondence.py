"""Token correspondences: geometry, interpolation, determinism, errors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from refkp.geometry import sphere
from refkp.systems.panorama.correspondence import (
    correspondence_table,
    gather_pairs,
    project_tokens,
    require_grid,
)
from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.pairs import PairRule

LAYOUT = ErpLayout.build()
GRID = (14, 14)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


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


def test_gradcheck() -> None:
    table = correspondence_table(LAYOUT, (4, 4))
    features = torch.randn(2, 9, 16, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: gather_pairs(f, table)[:2], features)


@pytest.mark.parametrize("device", DEVICES)
def test_backward_is_bitwise_repeatable(device: str) -> None:
    table = correspondence_table(LAYOUT, GRID, device=device)
    features = torch.randn(2, 9, 196, 32, device=device, requires_grad=True)
    x, y, _ = gather_pairs(features, table)
    cotangent = torch.randn_like(y)
    grads = [
        torch.autograd.grad((x, y), features, (cotangent, cotangent), retain_graph=True)[0] for _ in range(3)
    ]
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


def test_offsets_of_a_batch_follow_the_samples() -> None:
    table = correspondence_table(LAYOUT, GRID)
    features = torch.randn(3, 9, 196, 4)
    x, _, offsets = gather_pairs(features, table)
    assert offsets.numel() == 3 * 16 + 1
    assert int(offsets[-1]) == len(x)
    alone, _, _ = gather_pairs(features[2:], table)
    torch.testing.assert_close(x[int(offsets[32]) :], alone)


def test_half_precision_is_read_as_float32() -> None:
    table = correspondence_table(LAYOUT, GRID)
    pairs = gather_pairs(torch.randn(1, 9, 196, 4, dtype=torch.bfloat16), table)
    assert pairs.x.dtype == pairs.y.dtype == torch.float32


def test_errors() -> None:
    table = correspondence_table(LAYOUT, GRID)
    with pytest.raises(ValueError, match=r"\[B,V,S,D\] with V=9, S=196"):
        gather_pairs(torch.zeros(1, 8, 196, 4), table)
    with pytest.raises(ValueError, match="S=196"):
        gather_pairs(torch.zeros(1, 9, 64, 4), table)
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
