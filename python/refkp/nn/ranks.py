"""Means over the items of all ranks of a distributed run, with the right gradient.

A mean over the labels, pixels or objects of a batch is a sum over a count, and ranks hold different counts: the
mean of the ranks' means is not the mean of the batch. So losses and metrics return a `Mean`, and what is done with
it says over what it is taken:

    mean.value                      the items of this rank
    all_rank_means(means)           the items of all ranks, one reduction for all means of a step
    all_rank_means(sum of means)    the items of all steps and ranks, as held-out values are made

The reduced value is the same on every rank, and equal to that of one process with the whole batch: it is what is
minimised, logged (as it is: no further mean over ranks) and asked whether it is finite. Its gradient is that of the
local sum times num_ranks / total count, so that the gradients which DDP averages are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed


@dataclass(frozen=True, eq=False)
class Mean:
    """A sum of items and how many they are; means of several batches add.

    Args:
        sum: scalar, with or without gradient.
        count: scalar of any dtype, the number of items or the sum of their weights; where it is 0 the mean is 0.
        root: the value is the square root of the mean, as that of squared errors.

    >>> (Mean.over(torch.tensor([1.0, 2.0])) + Mean.over(torch.tensor([6.0]))).value
    tensor(3.)
    """

    sum: Tensor
    count: Tensor
    root: bool = False

    @staticmethod
    def over(items: Tensor, counted: Tensor | None = None, *, root: bool = False) -> Mean:
        """The mean of `items` where `counted` is true (None: everywhere); bool items count as 0 and 1.

        Items that are not counted may hold anything, also NaN.
        """
        counted = torch.ones_like(items, dtype=torch.bool) if counted is None else counted
        items = items.float() if items.dtype == torch.bool else items
        return Mean(torch.where(counted, items, 0.0).sum(), counted.sum(), root)

    def __add__(self, other: Mean) -> Mean:
        return Mean(self.sum + other.sum, self.count + other.count, self.root)

    @property
    def value(self) -> Tensor:
        """The mean of the items of this rank, in the dtype of the sum."""
        return _divided(self, self.sum.double(), self.count.double())


def all_rank_means(means: Mapping[str, Mean]) -> dict[str, Tensor]:
    """The values of means over the items of all ranks, by name.

    Every rank must come here with the same names in the same order. In one process: the values of the means.

    Returns:
        Scalars, equal on all ranks, in the dtype of the sums; gradients reach the sums of this rank, as DDP
        needs them (see above).
    """
    if not several_ranks() or not means:
        return {name: mean.value for name, mean in means.items()}
    # In float64, in which pixels of a large run are still counted one by one.
    parts = [part.double() for mean in means.values() for part in (mean.sum, mean.count)]
    totals = _SumOverRanks.apply(torch.stack(parts)).unflatten(0, (-1, 2))
    return {
        name: _divided(mean, *total.unbind())
        for (name, mean), total in zip(means.items(), totals, strict=True)
    }


def several_ranks() -> bool:
    """Whether this process is one of several that train together."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _divided(mean: Mean, total: Tensor, count: Tensor) -> Tensor:
    value = total / torch.where(count > 0, count, 1.0)
    return (value.sqrt() if mean.root else value).to(mean.sum.dtype)


class _SumOverRanks(torch.autograd.Function):
    """Totals over the ranks, which all go on alike from them: their cotangents are equal.

    The gradient of a total with respect to a local sum is 1; num_ranks undoes the division in DDP's average.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * distributed.get_world_size()
