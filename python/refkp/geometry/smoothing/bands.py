"""Least squares over time in which a residual concerns three frames in a row: systems of two bands beside the diagonal.

The Cholesky factorisation of such a system, frame after frame, is the Kalman filter in its information form, and the
substitution back is the pass of Rauch, Tung and Striebel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Bands(NamedTuple):
    """The lower half of a symmetric system of T x T blocks, for each of M tracks."""

    diagonal: Tensor  # [T,M,3,3]
    first: Tensor  # [T-1,M,3,3], the block in row t + 1 and column t
    second: Tensor  # [T-2,M,3,3], the block in row t + 2 and column t


def normal_bands(blocks: tuple[Tensor, Tensor, Tensor], num_frames: int) -> Bands:
    """J^T J of a matrix J whose row t holds three blocks in the columns t, t + 1 and t + 2.

    Args:
        blocks: three of [T-2,M,3,3]; empty where T < 3.
        num_frames: T.
    """
    b0, b1, b2 = blocks
    diagonal = b0.new_zeros(num_frames, *b0.shape[1:])
    first = b0.new_zeros(num_frames - 1, *b0.shape[1:])
    if num_frames > 2:
        for offset, block in enumerate(blocks):
            diagonal[offset : offset + len(b0)] += block.mT @ block
        first[:-1] += b1.mT @ b0
        first[1:] += b2.mT @ b1
    return Bands(diagonal, first, b2.mT @ b0)


def transposed_times(blocks: tuple[Tensor, Tensor, Tensor], residuals: Tensor, num_frames: int) -> Tensor:
    """J^T r [T,M,3] of the matrix of `normal_bands` and r [T-2,M,3]."""
    product = residuals.new_zeros(num_frames, *residuals.shape[1:])
    for offset, block in enumerate(blocks):
        product[offset : offset + len(residuals)] += (block.mT @ residuals[..., None])[..., 0]
    return product


def solve_bands(bands: Bands, right: Tensor) -> Tensor:
    """Solve a positive definite system for x [T,M,3], with right [T,M,3], by a Cholesky factorisation of blocks."""
    num_frames = len(right)
    zero = torch.zeros_like(bands.diagonal[0])
    factors: list[Tensor] = []  # of the diagonal blocks
    before: list[Tensor] = []  # blocks one and two to the left of the diagonal
    before_2: list[Tensor] = []
    halves: list[Tensor] = []
    for t in range(num_frames):
        block, rest = bands.diagonal[t], right[t][..., None]
        left = zero
        left_2 = _right_solve(factors[t - 2], bands.second[t - 2]) if t > 1 else zero
        if t > 0:
            left = _right_solve(factors[t - 1], bands.first[t - 1] - left_2 @ before[t - 1].mT)
            block = block - left @ left.mT - left_2 @ left_2.mT
            rest = rest - left @ halves[t - 1] - (left_2 @ halves[t - 2] if t > 1 else 0.0)
        factors.append(torch.linalg.cholesky(block))
        halves.append(torch.linalg.solve_triangular(factors[t], rest, upper=False))
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
    return torch.stack(solved)[..., 0]


def _right_solve(factor: Tensor, block: Tensor) -> Tensor:
    """block factor^-T for a lower triangular factor."""
    return torch.linalg.solve_triangular(factor, block.mT, upper=False).mT
