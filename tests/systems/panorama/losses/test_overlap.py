"""VICReg of overlaps: values against a plain computation, gradients, errors."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from refkp.geometry import sphere
from refkp.ops import vicreg
from refkp.systems.panorama.losses import VICRegOptions, overlap_vicreg
from refkp.systems.panorama.overlaps.correspondence import correspondence_table
from refkp.systems.panorama.overlaps.gather import gather_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout

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
    weighted = 25 * loss.terms["invariance"] + 25 * loss.terms["variance"] + loss.terms["covariance"]
    torch.testing.assert_close(loss.total, weighted)


def test_features_that_depend_on_the_direction_alone_are_nearly_invariant() -> None:
    ray = sphere.tangent_grid(6, 6, LAYOUT.half_tangents)
    direction = torch.einsum("nij,nhwj->nhwi", LAYOUT.rotations, ray).flatten(1, 2)
    unit = direction / direction.norm(dim=-1, keepdim=True)
    features = torch.cat((torch.zeros_like(unit[:1]), unit))[None]
    by_position = torch.randn(1, 1, 36, 3, dtype=torch.float64).expand(1, 9, 36, 3)
    assert float(overlap_vicreg(features, TABLE).terms["invariance"]) < 1e-3
    assert float(overlap_vicreg(by_position, TABLE).terms["invariance"]) > 0.1


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


def test_scope_position_is_over_the_batch_at_each_correspondence() -> None:
    features = torch.randn(3, 9, 36, 5, dtype=torch.float64)
    loss = overlap_vicreg(features, TABLE, scope="position")
    x, y, _ = gather_pairs(features, TABLE)
    positions = zip(x.view(3, -1, 5).unbind(1), y.view(3, -1, 5).unbind(1), strict=True)
    totals = [
        vicreg(*xy, unbiased=False, covariance="mean", backend="reference").total[0] for xy in positions
    ]
    torch.testing.assert_close(loss.total, torch.stack(totals).mean())
    assert loss.loss_path == "overlap/position"


def test_the_global_view_can_take_part() -> None:
    table = correspondence_table(LAYOUT, (6, 6), PairRule(include_global=True))
    features = torch.randn(1, 9, 36, 5, requires_grad=True)
    overlap_vicreg(features, table).total.backward()
    assert float(features.grad[:, 0].abs().max()) > 0


def test_errors() -> None:
    with pytest.raises(ValueError, match="scope"):
        overlap_vicreg(torch.randn(1, 9, 36, 3), TABLE, scope="batch")
    with pytest.raises(ValueError, match=r"two samples in a set; got 1. Enlarge the batch"):
        overlap_vicreg(torch.randn(1, 9, 36, 3), TABLE, scope="position")
    with pytest.raises(ValueError, match="V=9"):
        overlap_vicreg(torch.randn(1, 8, 36, 3), TABLE)
