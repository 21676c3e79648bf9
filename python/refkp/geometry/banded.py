"""Sequences whose neighbours are coupled: block systems of bandwidth two, solved frame by frame.

The Cholesky factorisation of such a system, frame after frame, is a Kalman filter in its information form, and the
substitution back is the pass of Rauch, Tung and Striebel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    return solve_banded(
        (block + share * coupling for block, share in zip(blocks, bands.diagonal, strict=True)),
        (share * coupling for share in bands.first),
        (share * coupling for share in bands.second),
        right,
    )


def solve_banded(
    diagonal: Iterable[Tensor], first: Iterable[Tensor], second: Iterable[Tensor], right: Tensor
) -> Tensor:
    """Solve a symmetric system of T x T blocks by a Cholesky factorisation; blocks are taken one after the other.

    Args:
        diagonal: T blocks [...,n,n].
        first: T-1, that of row t + 1 and column t.
        second: T-2, that of row t + 2 and column t.
        right: [T,...,n,k].

    Returns:
        [T,...,n,k].

    Raises:
        torch.linalg.LinAlgError: the system is not positive definite.
    """
    firsts, seconds = iter(first), iter(second)
    factors: list[Tensor] = []  # of the diagonal blocks
    before: list[Tensor] = []  # blocks one and two to the left of the diagonal
    before_2: list[Tensor] = []
    halves: list[Tensor] = []
    for t, block in enumerate(diagonal):
        half, left = right[t], torch.zeros_like(block)
        left_2 = _right_solve(factors[t - 2], next(seconds)) if t > 1 else left
        if t > 0:
            left = _right_solve(factors[t - 1], next(firsts) - left_2 @ before[t - 1].mT)
            block = block - left @ left.mT - left_2 @ left_2.mT
            half = half - left @ halves[t - 1] - (left_2 @ halves[t - 2] if t > 1 else 0.0)
        factors.append(torch.linalg.cholesky(block))
        halves.append(torch.linalg.solve_triangular(factors[t], half, upper=False))
        before.append(left)
        before_2.append(left_2)
    return _back_substitute(factors, before, before_2, halves)


class ThreeFrameRows(NamedTuple):
    """A matrix whose row t holds a block for each of the frames t, t + 1 and t + 2: [T-2,...,n,n] each."""

    first: Tensor
    second: Tensor
    third: Tensor

    def normal(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of the matrix transposed by itself: the diagonal [T,...,n,n], the bands beside it [T-1,...] and [T-2,...]."""
        a, b, c = self
        along = (a.mT @ a, b.mT @ b, c.mT @ c)
        return _staggered(along), _staggered((b.mT @ a, c.mT @ b)), c.mT @ a

    def transposed_times(self, values: Tensor) -> Tensor:
        """The matrix transposed by values [T-2,...,n]: [T,...,n]."""
        return _staggered([(block.mT @ values[..., None])[..., 0] for block in self])


def _staggered(parts: Sequence[Tensor]) -> Tensor:
    """The sum of parts [t,...], each a frame later than the one before it: [t + number of parts - 1,...]."""
    count = len(parts[0])
    total = parts[0].new_zeros(count + len(parts) - 1, *parts[0].shape[1:])
    for late, part in enumerate(parts):
        total[late : late + count] += part
    return total


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
