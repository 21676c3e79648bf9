"""equivariance_loss: laws that hold for every map."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.geometry.affine import affine_theta
from refkp.ops import affine_warp, equivariance_loss
from tests.ops.test_equivariance_loss import CALLS


@given(shift=st.integers(-5, 5), constant=st.floats(0.1, 3.0))
def test_coverage_of_a_shift_ignores_the_border(shift: int, constant: float) -> None:
    maps = torch.full((1, 1, 8, 8), constant, dtype=torch.float64)
    theta = affine_theta(torch.zeros(1), torch.ones(1), torch.tensor([[shift / 4, 0.0]])).double()
    assert equivariance_loss(maps, affine_warp(maps, theta, fill=constant), theta, coverage=True) < 1e-20


@given(seed=st.integers(0, 1000))
def test_channels_may_be_permuted(seed: int) -> None:
    there = CALLS["coverage"].tensors
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    permuted = {**there, "maps": there["maps"][:, order], "maps_warped": there["maps_warped"][:, order]}
    torch.testing.assert_close(equivariance_loss(**permuted), equivariance_loss(**there))
