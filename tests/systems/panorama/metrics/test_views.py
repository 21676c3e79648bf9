"""Overlap retrieval and collapse measures on features whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from refkp.geometry import sphere
from refkp.systems.panorama.metrics.views import (
    effective_rank,
    feature_std,
    linear_cka,
    opposite_tiles,
    overlap_retrieval,
    position_accuracy,
    view_metrics,
)
from refkp.systems.panorama.overlaps.correspondence import correspondence_table
from refkp.systems.panorama.overlaps.gather import gather_pairs
from refkp.systems.panorama.views.layout import ErpLayout

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


def test_linear_cka() -> None:
    x = torch.randn(30, 6)
    turn, _ = torch.linalg.qr(torch.randn(6, 6))
    assert float(linear_cka(x, 3 * x @ turn + 5)) == pytest.approx(1, abs=1e-5)
    noise = float(linear_cka(torch.randn(4000, 3), torch.randn(4000, 3)))
    assert noise < 0.01
    assert float(linear_cka(torch.ones(5, 2), x[:5])) == 0


def test_linear_cka_of_few_samples_equals_that_of_the_definition() -> None:
    """Fewer samples than dimensions take the other product."""
    x, y = torch.randn(7, 20), torch.randn(7, 30)
    a, b = x - x.mean(0), y - y.mean(0)
    want = (a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm())
    torch.testing.assert_close(linear_cka(x, y), want)


def test_position_accuracy() -> None:
    places = 5 * torch.randn(1, 6, 1, 16).expand(4, 6, 3, 16)
    assert float(position_accuracy(places + torch.randn(4, 6, 3, 16))) == 1.0
    assert float(position_accuracy(torch.randn(200, 6, 1, 8), max_samples=200)) < 0.3
    swapped = places.clone()
    swapped[0, [0, 1]] = places[0, [1, 0]]  # two tiles of one of four samples
    assert float(position_accuracy(swapped)) == pytest.approx(22 / 24)


def test_no_sample_helps_with_the_places_it_is_asked_for() -> None:
    """Two panoramas without anything in common are put back by chance: 1/16, where their own tiles would do."""
    assert float(position_accuracy(torch.randn(2, 16, 1, 256))) < 0.3


def test_opposite_tiles_of_a_ring() -> None:
    assert opposite_tiles(LAYOUT).tolist() == [[0, 4], [1, 5], [2, 6], [3, 7]]
    narrow = ErpLayout.from_angles([0.0, 40.0], [0.0, 0.0], hfov_deg=60.0)
    assert opposite_tiles(narrow).shape == (0, 2)


def test_view_metrics_names_everything_that_is_defined() -> None:
    always = {
        "retrieval",
        "chance",
        "adjacent_cosine",
        "adjacent_mse",
        "adjacent_cka",
        "effective_rank",
        "std",
    }
    three = view_metrics(torch.randn(3, 9, 64, 4), TABLE, LAYOUT)
    batch = {"retrieval_elsewhere", "position_accuracy"}
    assert set(three) == {*always, *batch, "opposite_cka", "global_cosine", "global_cka"}
    assert all(value.dim() == 0 and bool(torch.isfinite(value)) for value in three.values())
    one = view_metrics(torch.randn(1, 9, 64, 4), TABLE, LAYOUT)
    assert set(one) == {*always, "opposite_cka", "global_cosine"}
    tiles = ErpLayout.build(global_view=False)
    without = view_metrics(torch.randn(1, 8, 64, 4), correspondence_table(tiles, (8, 8)), tiles)
    assert set(without) == {*always, "opposite_cka"}


def test_view_metrics_read_correspondences() -> None:
    """Features that are the direction agree where tiles overlap, whatever their place in the tile."""
    features = _direction_features()
    values = view_metrics(features, TABLE, LAYOUT)
    assert float(values["adjacent_cosine"]) > 0.99
    assert float(values["adjacent_cka"]) > 0.99
    x, y, _ = gather_pairs(features.float(), TABLE)
    torch.testing.assert_close(values["adjacent_mse"], (x - y).square().mean())
    torch.testing.assert_close(values["retrieval"], overlap_retrieval(features, TABLE).accuracy)
    moved = view_metrics(torch.randn(2, 9, 64, 3), TABLE, LAYOUT)
    assert float(moved["adjacent_cosine"]) < 0.3


def test_view_metrics_have_no_gradient() -> None:
    features = torch.randn(2, 9, 64, 4, requires_grad=True)
    assert not any(value.requires_grad for value in view_metrics(features, TABLE, LAYOUT).values())


def test_errors() -> None:
    with pytest.raises(ValueError, match="S=64"):
        overlap_retrieval(torch.randn(1, 9, 36, 4), TABLE)
    with pytest.raises(ValueError, match="V=9"):
        view_metrics(torch.randn(1, 8, 64, 4), TABLE, LAYOUT)
    with pytest.raises(ValueError, match="two samples"):
        position_accuracy(torch.zeros(1, 3, 4, 5))
    with pytest.raises(ValueError, match="N=4"):
        linear_cka(torch.zeros(4, 2), torch.zeros(5, 2))
