"""The panorama against its tiles: values, gradients, errors."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.panorama.losses import global_local


def test_equal_means_cost_nothing() -> None:
    tiles = torch.randn(2, 3, 4, 5)
    whole = tiles.mean((1, 2))[:, None].expand(2, 6, 5)
    for distance in ("cosine", "mse"):
        assert float(global_local(whole, tiles, distance=distance).total) == pytest.approx(0.0, abs=1e-6)


def test_known_values() -> None:
    whole = torch.tensor([[[1.0, 0.0], [3.0, 0.0]]])  # mean (2, 0)
    tiles = torch.tensor([[[[0.0, 1.0]], [[0.0, 3.0]]]])  # mean (0, 2)
    assert float(global_local(whole, tiles).total) == pytest.approx(1.0)
    loss = global_local(whole, tiles, distance="mse")
    assert float(loss.total) == pytest.approx(4.0)
    assert loss.loss_path == "global_local/mse"


@pytest.mark.parametrize("distance", ["cosine", "mse"])
def test_gradcheck(distance: str) -> None:
    whole = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    tiles = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g, t: global_local(g, t, distance=distance).total, (whole, tiles))


def test_errors() -> None:
    with pytest.raises(ValueError, match="distance"):
        global_local(torch.zeros(1, 2, 3), torch.zeros(1, 2, 2, 3), distance="l1")
    with pytest.raises(ValueError, match="B=1, D=3"):
        global_local(torch.zeros(1, 2, 3), torch.zeros(2, 2, 2, 3))
