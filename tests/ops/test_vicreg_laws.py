"""vicreg: laws that hold for every segment."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.ops import vicreg
from tests.ops.test_vicreg import branches


@given(rows=st.integers(2, 40), dim=st.integers(1, 40), seed=st.integers(0, 99))
def test_both_routes_give_one_number(rows: int, dim: int, seed: int) -> None:
    """||c^T c||^2 - sum s^2 = sum of the off-diagonal squares, whichever matrix the kernel takes."""
    z = torch.randn(rows, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    c = z - z.mean(0)
    small, large = c @ c.T, c.T @ c
    want = (small.square().sum() - large.diagonal().square().sum()) / (dim * (rows - 1) ** 2)
    torch.testing.assert_close(vicreg(z, z).covariance[0] / 2, want, rtol=1e-9, atol=1e-12)


@given(rows=st.integers(2, 30), dim=st.integers(1, 30), shift=st.floats(-100, 100))
def test_terms_do_not_depend_on_the_order_of_rows_or_columns_or_a_common_shift(
    rows: int, dim: int, shift: float
) -> None:
    x, y = branches(rows, dim).values()
    want = vicreg(x, y)
    permuted, turned = torch.randperm(rows), torch.randperm(dim)
    for got in (
        vicreg(x[permuted], y[permuted]),
        vicreg(x[:, turned], y[:, turned]),
        vicreg(x + shift, y + shift),
        vicreg(y, x),
    ):
        for value, wanted in zip(got, want, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-9, atol=1e-9)
