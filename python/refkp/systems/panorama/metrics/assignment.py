"""The cheapest one-to-one assignment of rows to columns, for a few dozen of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail, require_finite, shape_text


def optimal_assignment(cost: Tensor) -> Tensor:
    """The permutation p that minimises sum_i cost[i, p_i], by shortest augmenting paths in O(N^3).

    Rows join one by one. Each takes the cheapest path of swaps to a free column under prices that keep all
    reduced costs at zero or above (Jonker and Volgenant 1987).

    Args:
        cost: [N,N] finite, on any device; the work is done on the CPU in float64.

    Returns:
        int64 [N] on the CPU.

    >>> optimal_assignment(torch.tensor([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]]))
    tensor([1, 0, 2])
    """
    if cost.dim() != 2 or cost.shape[0] != cost.shape[1]:
        fail("optimal_assignment", "cost", "[N,N]", shape_text(cost.shape))
    host = cost.detach().cpu().double()
    require_finite("optimal_assignment", "cost", host)
    matrix = host.numpy()
    size = len(matrix)
    row_price, column_price = np.zeros(size), np.zeros(size)
    row_of = np.full(size, -1)  # of each column
    for row in range(size):
        _augment(matrix, row, row_price, column_price, row_of)
    columns = np.empty(size, dtype=np.int64)
    columns[row_of] = np.arange(size)
    return torch.from_numpy(columns)


def _augment(
    cost: np.ndarray, row: int, row_price: np.ndarray, column_price: np.ndarray, row_of: np.ndarray
) -> None:
    """Give `row` a column: Dijkstra over the columns, then new prices and the swaps along the path."""
    size = len(cost)
    distance, before = np.full(size, np.inf), np.full(size, -1)  # to each column; the column before it
    done = np.zeros(size, dtype=bool)
    current, reached, column = row, 0.0, -1
    while True:
        step = reached + cost[current] - row_price[current] - column_price
        closer = ~done & (step < distance)
        distance[closer], before[closer] = step[closer], column
        column = int(np.where(done, np.inf, distance).argmin())
        reached = distance[column]
        if row_of[column] < 0:
            break
        done[column] = True
        current = row_of[column]
    row_price[row] += reached
    row_price[row_of[done]] += reached - distance[done]
    column_price[done] -= reached - distance[done]
    while column >= 0:
        previous = before[column]
        row_of[column] = row if previous < 0 else row_of[previous]
        column = previous
