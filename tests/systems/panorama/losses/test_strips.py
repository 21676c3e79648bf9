"""Facing strips: which tokens they hold, their loss, the ring of tiles, errors."""

from __future__ import annotations

import pytest
import torch

from refkp.ops import vicreg
from refkp.systems.panorama.losses import (
    VICRegOptions,
    ring_strip_vicreg,
    sequential_strip_vicreg,
    sequential_strips,
    strip_pairs,
)
from refkp.systems.panorama.views.layout import ErpLayout


def test_strips_are_right_and_left_columns_in_a_ring() -> None:
    cells = torch.arange(2 * 3 * 4).reshape(1, 2, 12, 1).float()
    strips = sequential_strips(cells, (3, 4), 0.5)
    assert strips.current[0].flatten().tolist() == [2, 3, 6, 7, 10, 11]
    assert strips.following[0].flatten().tolist() == [12, 13, 16, 17, 20, 21]
    assert strips.following[1].flatten().tolist() == [0, 1, 4, 5, 8, 9]
    with_class_token = torch.cat((torch.full((1, 2, 1, 1), -1.0), cells), 2)
    again = sequential_strips(with_class_token, (3, 4), 0.5, num_prefix_tokens=1)
    torch.testing.assert_close(again, strips)


@pytest.mark.parametrize("mode", ["pairwise", "batchwise"])
def test_strip_loss_adds_its_terms(mode: str) -> None:
    options = VICRegOptions(coefficients=(2.0, 3.0, 5.0))
    loss = sequential_strip_vicreg(torch.randn(2, 4, 9, 3), (3, 3), 0.4, options, mode=mode)
    total = 2 * loss.terms["invariance"] + 3 * loss.terms["variance"] + 5 * loss.terms["covariance"]
    torch.testing.assert_close(loss.total, total)
    assert loss.loss_path == f"strips/{mode}"


def test_strip_pairs_of_all_samples_stay_together() -> None:
    features = torch.randn(2, 3, 12, 5)
    strips = sequential_strips(features, (3, 4), 0.5)
    pairs = strip_pairs(features, (3, 4), 0.5, group="pair")
    assert pairs.offsets.tolist() == [0, 12, 24, 36]
    assert torch.equal(pairs.x[12:18], strips.current[1])  # view 1 of sample 0
    assert torch.equal(pairs.x[18:24], strips.current[4])  # view 1 of sample 1
    assert torch.equal(pairs.y[18:24], strips.following[4])
    other = torch.randn_like(features)
    mixed = strip_pairs(features, (3, 4), 0.5, partner_features=other, group="pair")
    assert torch.equal(mixed.x, pairs.x)
    assert torch.equal(mixed.y, strip_pairs(other, (3, 4), 0.5, group="pair").y)


def test_a_uniform_ring_is_the_sequential_loss() -> None:
    features = torch.randn(2, 8, 16, 5)
    layout = ErpLayout.from_angles([45.0 * k for k in range(8)], [0.0] * 8, hfov_deg=90.0)
    for mode in ("pairwise", "batchwise"):
        ring = ring_strip_vicreg(features, layout, (4, 4), mode=mode)
        sequential = sequential_strip_vicreg(features, (4, 4), 0.5, mode=mode)
        torch.testing.assert_close(ring.total, sequential.total)


def test_strips_of_a_ring_are_as_wide_as_their_overlap() -> None:
    """Overlaps of 1/2 and 1/4 of four columns; the tile to the left gives its right columns."""
    layout = ErpLayout.from_angles([60.0, 30.0, 105.0], [0.0] * 3, hfov_deg=60.0)
    features = torch.randn(1, 3, 16, 2, dtype=torch.float64)
    cells = features[0].unflatten(1, (4, 4))
    first = vicreg(cells[1][:, 2:].flatten(0, 1), cells[0][:, :2].flatten(0, 1), **STATISTICS).total
    second = vicreg(cells[0][:, 3:].flatten(0, 1), cells[2][:, :1].flatten(0, 1), **STATISTICS).total
    got = ring_strip_vicreg(features, layout, (4, 4)).total
    torch.testing.assert_close(got, (first[0] + second[0]) / 2)


STATISTICS = {"unbiased": False, "covariance": "mean", "backend": "reference"}


def test_errors() -> None:
    features = torch.randn(1, 4, 10, 3)
    with pytest.raises(ValueError, match=r"\[3,3\] = 9 in each view; got 10"):
        sequential_strips(features, (3, 3), 0.5)
    with pytest.raises(ValueError, match="overlap_ratio"):
        sequential_strips(features, (2, 5), 0.0)
    with pytest.raises(ValueError, match="mode"):
        sequential_strip_vicreg(features, (2, 5), 0.5, mode="both")
    with pytest.raises(ValueError, match="V=4"):
        strip_pairs(features, (2, 5), 0.5, partner_features=features[:, :3])
    two_rows = ErpLayout.from_angles([0.0, 40.0, 0.0, 40.0], [0.0, 0.0, 30.0, 30.0], hfov_deg=60.0)
    with pytest.raises(ValueError, match="one row of tiles; got 2 rows"):
        ring_strip_vicreg(features, two_rows, (2, 5))
    apart = ErpLayout.from_angles([0.0, 90.0, 180.0, -90.0], [0.0] * 4, hfov_deg=60.0)
    with pytest.raises(ValueError, match="neighbours that overlap"):
        ring_strip_vicreg(features, apart, (2, 5))
