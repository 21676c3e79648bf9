"""Factorisations that do not raise."""

from __future__ import annotations

import torch

from refkp.geometry.pnp.precision import stable_cholesky


def test_sound_matrices_are_factorised_as_they_are() -> None:
    root = torch.randn(5, 4, 4, dtype=torch.float64)
    matrix = root @ root.mT + 0.1 * torch.eye(4, dtype=torch.float64)
    factor, failed = stable_cholesky(matrix)
    assert not failed.any()
    assert torch.equal(factor, torch.linalg.cholesky(matrix))


def test_singular_ones_get_a_little_of_their_trace_and_hopeless_ones_fail() -> None:
    v = torch.tensor([1.0, 2.0, 3.0])
    matrices = torch.stack(
        (
            torch.outer(v, v) - 1e-7 * torch.eye(3),
            1e12 * torch.outer(v, v),
            torch.zeros(3, 3),
            -torch.eye(3),
            torch.full((3, 3), torch.nan),
            torch.full((3, 3), torch.inf),
        )
    ).requires_grad_()
    factor, failed = stable_cholesky(matrices)
    assert failed.tolist() == [False, False, True, True, True, True]
    near = factor[:2] @ factor[:2].mT
    torch.testing.assert_close(near, matrices[:2], rtol=0.02, atol=1e-4)
    factor.sum().backward()
    assert torch.isfinite(matrices.grad).all()
    assert (matrices.grad[2:] == 0).all()
