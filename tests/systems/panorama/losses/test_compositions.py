"""What users would write in torch gives the value and the gradient of the package's losses."""

from __future__ import annotations

import pytest
import torch

from refkp.ops.compositions import vicreg_covariance, vicreg_gram
from refkp.systems.panorama.losses import compositions, overlap_vicreg, sequential_strip_vicreg
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout

GRID = (4, 4)


@pytest.mark.parametrize("pitch", [45.0, 67.5])
@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("covariance", [vicreg_covariance, vicreg_gram])
def test_grid_loss(pitch: float, chunk: int | None, covariance: compositions.Covariance) -> None:
    """One row, and two with pairs of different lengths."""
    layout, rule = ErpLayout.build(pitch_min_deg=-pitch, pitch_max_deg=pitch), PairRule(min_overlap=0.2)
    table = compositions.build_table(layout, GRID, rule)
    features = torch.randn(2, layout.num_views, 16, 5, requires_grad=True)
    ours = overlap_vicreg(features, table).total
    theirs = compositions.grid_loss(features, table, covariance, chunk)
    torch.testing.assert_close(theirs, ours)
    grads = [torch.autograd.grad(loss, features)[0] for loss in (theirs, ours)]
    torch.testing.assert_close(*grads)
    torch.testing.assert_close(compositions.grid_loss_loop(features, layout, GRID, rule), ours)


@pytest.mark.parametrize("chunk", [None, 3])
def test_strip_loss(chunk: int | None) -> None:
    features = torch.randn(2, 5, 16, 6)
    ours = sequential_strip_vicreg(features, GRID, 0.5).total
    torch.testing.assert_close(compositions.strip_loss(features, GRID, 0.5, vicreg_covariance, chunk), ours)
