"""Sequences whose neighbours are coupled: block systems of bandwidth two, solved frame by frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Bands(NamedTuple):
    """The diagonal of a symmetric matrix [T,T], and the two bands beside it."""

    diagonal: list[float]  # T
    first: list[float]  # T-1
    second: list[float]  # T-2


def second_differences(num_frames: int) -> Bands:
    """D^T D, where D takes second differences x_{t-1} - 2 x_t + x_{t+1}.

    >>> second_differences(3)
    Bands(diagonal=[1.0, 4.0, 1.0], first=[-2.0, -2.0], second=[1.0])
    """
    diagonal, first = [0.0] * num_frames, [0.0] * max(0, num_frames - 1)
    second = [1.0] * max(0, num_frames - 2)
    for t in range(num_frames - 2):
        for offset, value in enumerate((1.0, 4.0, 1.0)):
            diagonal[t + offset] += value
        first[t] -= 2.0
        first[t + 1] -= 2.0
    return Bands(diagonal, first, second)


def solve_coupled(blocks: Tensor, right: Tensor, coupling: Tensor, bands: Bands) -> Tensor:
    """Solve (blocks on the diagonal + bands x coupling) x = right, by a Cholesky factorisation of the blocks.

    Args:
        blocks: [T,...,n,n], symmetric.
        right: [T,...,n,k].
        coupling: [...,n,n], symmetric, the same between all frames.
        bands: of T frames.

    Returns:
        [T,...,n,k].

    Raises:
        torch.linalg.LinAlgError: the system is not positive definite.
    """
    factors: list[Tensor] = []  # of the diagonal blocks
    before: list[Tensor] = []  # blocks one and two to the left of the diagonal
    before_2: list[Tensor] = []
    halves: list[Tensor] = []
    nothing = torch.zeros_like(coupling)
    for t in range(len(blocks)):
        block, half = blocks[t] + bands.diagonal[t] * coupling, right[t]
        left_2 = _right_solve(factors[t - 2], bands.second[t - 2] * coupling) if t > 1 else nothing
        left = nothing
        if t > 0:
            left = _right_solve(factors[t - 1], bands.first[t - 1] * coupling - left_2 @ before[t - 1].mT)
            block = block - left @ left.mT - left_2 @ left_2.mT
            half = half - left @ halves[t - 1] - (left_2 @ halves[t - 2] if t > 1 else 0.0)
        factors.append(torch.linalg.cholesky(block))
        halves.append(torch.linalg.solve_triangular(factors[t], half, upper=False))
        before.append(left)
        before_2.append(left_2)
    return _back_substitute(factors, before, before_2, halves)


def _back_substitute(
    factors: list[Tensor], before: list[Tensor], before_2: list[Tensor], halves: list[Tensor]
) -> Tensor:
    solved: list[Tensor] = [torch.empty(0)] * len(factors)
    for t in reversed(range(len(factors))):
        right = halves[t]
        if t + 1 < len(factors):
            right = right - before[t + 1].mT @ solved[t + 1]
        if t + 2 < len(factors):
            right = right - before_2[t + 2].mT @ solved[t + 2]
        solved[t] = torch.linalg.solve_triangular(factors[t].mT, right, upper=True)
    return torch.stack(solved)


def _right_solve(factor: Tensor, block: Tensor) -> Tensor:
    """block factor^-T for a lower triangular factor."""
    return torch.linalg.solve_triangular(factor, block.mT, upper=False).mT
