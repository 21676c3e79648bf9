"""What users would write in torch gives the value and the gradient of the package's losses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from refkp._measure import num_operators
from refkp.peers import panorama as peers
from refkp.peers.vicreg import Covariance, vicreg_covariance, vicreg_gram
from refkp.systems.panorama.losses import overlap_vicreg, sequential_strip_vicreg
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout

GRID = (4, 4)


@pytest.mark.parametrize("pitch", [45.0, 67.5])
@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("covariance", [vicreg_covariance, vicreg_gram])
def test_grid_loss(pitch: float, chunk: int | None, covariance: Covariance) -> None:
    """One row, and two with pairs of different lengths."""
    layout, rule = ErpLayout.build(pitch_min_deg=-pitch, pitch_max_deg=pitch), PairRule(min_overlap=0.2)
    table = peers.build_table(layout, GRID, rule)
    features = torch.randn(2, layout.num_views, 16, 5, requires_grad=True)
    ours = overlap_vicreg(features, table).total
    theirs = peers.grid_loss(features, table, covariance, chunk)
    torch.testing.assert_close(theirs, ours)
    grads = [torch.autograd.grad(loss, features)[0] for loss in (theirs, ours)]
    torch.testing.assert_close(*grads)
    torch.testing.assert_close(peers.grid_loss_loop(features, layout, GRID, rule), ours)


@pytest.mark.parametrize("backward", [False, True])
def test_ours_dispatches_a_tenth_of_the_operators_of_a_loop(backward: bool) -> None:
    layout, rule = ErpLayout.build(), PairRule()
    table = peers.build_table(layout, GRID, rule)
    features = torch.randn(2, layout.num_views, 16, 8, requires_grad=backward)

    def count(loss: Callable[[], Tensor]) -> int:
        return num_operators(lambda: torch.autograd.grad(loss(), features) if backward else loss())

    ours = count(lambda: overlap_vicreg(features, table).total)
    assert ours < count(lambda: peers.grid_loss_loop(features, layout, GRID, rule)) / 10


@pytest.mark.parametrize("chunk", [None, 3])
def test_strip_loss(chunk: int | None) -> None:
    features = torch.randn(2, 5, 16, 6)
    ours = sequential_strip_vicreg(features, GRID, 0.5).total
    torch.testing.assert_close(peers.strip_loss(features, GRID, 0.5, vicreg_covariance, chunk), ours)
