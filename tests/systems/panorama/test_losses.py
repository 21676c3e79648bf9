"""Overlap losses: values against a plain computation, gradients, errors."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from refkp.geometry import sphere
from refkp.ops import vicreg
from refkp.systems.panorama.correspondence import correspondence_table, gather_pairs
from refkp.systems.panorama.layout import ErpLayout
from refkp.systems.panorama.losses import (
    VICRegOptions,
    overlap_vicreg,
    sequential_strip_vicreg,
    sequential_strips,
)

LAYOUT = ErpLayout.build()
TABLE = correspondence_table(LAYOUT, (6, 6))


def test_overlap_vicreg_is_the_mean_over_ordered_pairs() -> None:
    features = torch.randn(2, 9, 36, 5, dtype=torch.float64)
    loss = overlap_vicreg(features, TABLE)
    totals = []
    for sample in features:
        x, y, offsets = gather_pairs(sample[None], TABLE)
        for start, end in pairwise(offsets.tolist()):
            terms = vicreg(x[start:end], y[start:end], unbiased=False, covariance="mean", backend="reference")
            totals.append(terms.total[0])
    torch.testing.assert_close(loss.total, torch.stack(totals).mean())
    assert loss.loss_path == "overlap/pair"
    weighted = 25 * loss.invariance + 25 * loss.variance + loss.covariance
    torch.testing.assert_close(loss.total, weighted)


def test_features_that_depend_on_the_direction_alone_are_nearly_invariant() -> None:
    ray = sphere.tangent_grid(6, 6, LAYOUT.half_tangents)
    direction = torch.einsum("nij,nhwj->nhwi", LAYOUT.rotations, ray).flatten(1, 2)
    unit = direction / direction.norm(dim=-1, keepdim=True)
    features = torch.cat((torch.zeros_like(unit[:1]), unit))[None]
    by_position = torch.randn(1, 1, 36, 3, dtype=torch.float64).expand(1, 9, 36, 3)
    assert float(overlap_vicreg(features, TABLE).invariance) < 1e-3
    assert float(overlap_vicreg(by_position, TABLE).invariance) > 0.1


def test_scope_all_uses_one_segment() -> None:
    features = torch.randn(2, 9, 36, 5)
    x, y, _ = gather_pairs(features, TABLE)
    want = vicreg(x, y, unbiased=False, covariance="mean")
    torch.testing.assert_close(overlap_vicreg(features, TABLE, scope="all").total, want.total[0])


def test_the_global_view_gets_no_gradient() -> None:
    features = torch.randn(1, 9, 36, 5, requires_grad=True)
    overlap_vicreg(features, TABLE).total.backward()
    assert float(features.grad[:, 0].abs().max()) == 0
    assert bool((features.grad[:, 1:].abs().amax((0, 2, 3)) > 0).all())


def test_overlap_vicreg_gradcheck() -> None:
    table = correspondence_table(ErpLayout.build(global_view=False), (3, 3), margin=0.0)
    features = torch.randn(1, 8, 9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda f: overlap_vicreg(f, table, VICRegOptions(gamma=3.0), backend="reference").total, features
    )


def test_non_finite_features_are_not_hidden() -> None:
    features = torch.randn(1, 9, 36, 5)
    features[0, 1] = torch.inf
    assert not bool(torch.isfinite(overlap_vicreg(features, TABLE).total))


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
    total = 2 * loss.invariance + 3 * loss.variance + 5 * loss.covariance
    torch.testing.assert_close(loss.total, total)
    assert loss.loss_path == f"strips/{mode}"


def test_errors() -> None:
    features = torch.randn(1, 4, 10, 3)
    with pytest.raises(ValueError, match=r"\[3,3\] = 9 in each view; got 10"):
        sequential_strips(features, (3, 3), 0.5)
    with pytest.raises(ValueError, match="overlap_ratio"):
        sequential_strips(features, (2, 5), 0.0)
    with pytest.raises(ValueError, match="mode"):
        sequential_strip_vicreg(features, (2, 5), 0.5, mode="both")
    with pytest.raises(ValueError, match="scope"):
        overlap_vicreg(torch.randn(1, 9, 36, 3), TABLE, scope="position")
    with pytest.raises(ValueError, match="V=9"):
        overlap_vicreg(torch.randn(1, 8, 36, 3), TABLE)
