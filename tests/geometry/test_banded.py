"""Coupled sequences against one dense system."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.banded import second_differences, solve_coupled


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_agrees_with_the_dense_system(frames: int) -> None:
    torch.manual_seed(frames)
    n, k = 4, 3
    half = torch.randn(frames, n, n, dtype=torch.float64)
    blocks = half @ half.mT + torch.eye(n, dtype=torch.float64)
    stiff = torch.randn(n, n, dtype=torch.float64)
    stiff = stiff @ stiff.mT
    right = torch.randn(frames, n, k, dtype=torch.float64)
    D = torch.zeros(max(0, frames - 2), frames, dtype=torch.float64)
    for t in range(frames - 2):
        D[t, t : t + 3] = torch.tensor([1.0, -2.0, 1.0])
    dense = torch.block_diag(*blocks) + torch.kron(D.mT @ D, stiff)
    want = torch.linalg.solve(dense, right.flatten(0, 1)).unflatten(0, (frames, n))
    torch.testing.assert_close(solve_coupled(blocks, right, stiff, second_differences(frames)), want)
