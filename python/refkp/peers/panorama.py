"""The panorama system as a user would write it: views with py360convert and OpenCV, overlap losses in torch.

The losses compare the same tokens as `overlap_vicreg` and give the same value, the pairwise formula of spec panorama
3.3: biased variance, mean of the two covariances, mean over the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from refkp._extras import named_extras
from refkp.nn.pixels import PixelStatistics
from refkp.peers.vicreg import Covariance, spread, vicreg_covariance
from refkp.systems.panorama.overlaps.correspondence import CorrespondenceTable, correspondence_table
from refkp.systems.panorama.overlaps.pairs import tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.layout import ErpLayout


def views_py360convert(
    pixels: Tensor, yaws: Sequence[float], side: int, statistics: PixelStatistics
) -> Tensor:
    """The letterboxed panorama and level tiles of 90 degrees from pixels [H,W,3] of bytes, normalised.

    What a user of py360convert and OpenCV writes: tiles at three times the size, both reduced by area means.
    """
    import numpy as np

    with named_extras():
        import cv2
        import py360convert

    erp = pixels.numpy()
    views = np.zeros((1 + len(yaws), side, side, 3), np.float32)
    above = (side - side // 2) // 2
    views[0, above : above + side // 2] = cv2.resize(erp, (side, side // 2), interpolation=cv2.INTER_AREA)
    for view, yaw in zip(views[1:], yaws, strict=True):
        tile = py360convert.e2p(erp, 90.0, yaw, 0.0, (3 * side, 3 * side))
        view[...] = cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA)
    mean, std = np.array(statistics.mean, np.float32), np.array(statistics.std, np.float32)
    scale: np.ndarray = np.float32(1 / 255) / std
    shift: np.ndarray = mean / std
    views *= scale
    views -= shift
    return torch.from_numpy(views).permute(0, 3, 1, 2)


def grid_loss(
    features: Tensor, table: CorrespondenceTable, covariance: Covariance, chunk: int | None = None
) -> Tensor:
    """Index and weigh the tokens, stack the pairs of one length, all at once or `chunk` pairs at a time."""
    tokens = features.flatten(1, 2)
    x = tokens[:, table.index_a]
    y = (tokens[:, table.taps_b] * table.weights[..., None]).sum(2)
    lengths = table.offsets.diff().tolist()
    parts = list(zip(x.split(lengths, 1), y.split(lengths, 1), strict=True))
    losses = []
    for length in sorted(set(lengths)):
        alike = [pair for pair in parts if pair[0].shape[1] == length]
        stacked_x, stacked_y = (torch.cat([pair[side] for pair in alike]) for side in (0, 1))
        losses.append(_by_chunks(stacked_x, stacked_y, covariance, chunk))
    return torch.cat(losses).mean()


def grid_loss_loop(features: Tensor, layout: ErpLayout, grid: tuple[int, int], rule: PairRule) -> Tensor:
    """As earlier implementations go about it: pairs found anew for every sample, then one pair at a time."""
    losses = []
    for sample in features.flatten(1, 2):
        table = build_table(layout, grid, rule, features.device)
        bounds = table.offsets.tolist()
        for start, end in pairwise(bounds):
            x = sample[table.index_a[start:end]]
            y = (sample[table.taps_b[start:end]] * table.weights[start:end, :, None]).sum(1)
            losses.append(pairwise_vicreg(x[None], y[None], vicreg_covariance))
    return torch.cat(losses).mean()


def build_table(
    layout: ErpLayout, grid: tuple[int, int], rule: PairRule, device: torch.device | str = "cpu"
) -> CorrespondenceTable:
    """Pairs and correspondences from scratch, without the caches that a training run lives on."""
    tile_pairs.cache_clear()
    correspondence_table.cache_clear()
    return correspondence_table(layout, grid, rule, device=device)


def strip_loss(
    features: Tensor, grid: tuple[int, int], overlap: float, covariance: Covariance, chunk: int | None = None
) -> Tensor:
    """The sequential loss between facing strips of consecutive views."""
    cells, columns = features.unflatten(2, grid), max(1, int(grid[1] * overlap))
    x = cells[..., grid[1] - columns :, :].flatten(2, 3).flatten(0, 1)
    y = cells.roll(-1, 1)[..., :columns, :].flatten(2, 3).flatten(0, 1)
    return _by_chunks(x, y, covariance, chunk).mean()


def pairwise_vicreg(x: Tensor, y: Tensor, covariance: Covariance) -> Tensor:
    """The loss of every pair [P] of token lists x, y [P,L,D]."""
    invariance = (x - y).square().mean((1, 2))
    (variance_x, covariance_x), (variance_y, covariance_y) = (
        spread(z, covariance, unbiased=False) for z in (x, y)
    )
    return 25 * invariance + 12.5 * (variance_x + variance_y) + (covariance_x + covariance_y) / 2


def _by_chunks(x: Tensor, y: Tensor, covariance: Covariance, chunk: int | None) -> Tensor:
    step = len(x) if chunk is None else chunk
    return torch.cat(
        [pairwise_vicreg(a, b, covariance) for a, b in zip(x.split(step), y.split(step), strict=True)]
    )
