"""How much a track accelerates, told from the track itself."""

from __future__ import annotations

import torch
from torch import Tensor

#: Median of the mean of three squared standard normals.
MEDIAN_MEAN_OF_THREE = 0.7887
#: An estimated acceleration is at least this share of the noise of a second difference.
LEAST_ACCELERATION = 0.05


def acceleration_deviation(differences: Tensor, variances: Tensor, seen: Tensor) -> Tensor:
    """The standard deviation of second differences per axis [M], from the median of their squares less their noise.

    Args:
        differences: [T-2,M,3], second differences of what was measured.
        variances: [T,M], of a measurement per axis.
        seen: bool [T,M], whether there is one.

    Returns:
        [M]; 1 where nothing tells it.
    """
    if not len(differences):
        return variances.new_ones(variances.shape[1])
    known = seen[:-2] & seen[1:-1] & seen[2:]
    noise = variances[:-2] + 4 * variances[1:-1] + variances[2:]
    squared = differences.square().mean(-1)
    typical = squared.where(known, torch.nan).nanmedian(0).values / MEDIAN_MEAN_OF_THREE
    expected = noise.where(known, torch.nan).nanmedian(0).values
    variance = torch.maximum(typical - expected, LEAST_ACCELERATION * expected)
    return variance.where(torch.isfinite(variance) & (variance > 0), 1.0).sqrt()
