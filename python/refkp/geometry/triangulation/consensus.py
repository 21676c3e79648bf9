"""RANSAC over pairs of views, all points and pairs at once: which point do most views agree on?"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.rig import Rig

#: Rays closer to parallel (1 - cos^2) than this have no point: 0.0006 degrees.
PARALLEL = 1e-10


class Rays(NamedTuple):
    """What the views see, as rays; every tensor is [V,n], of no use where not seen."""

    a: Tensor  # normalised, without distortion
    b: Tensor
    direction: tuple[Tensor, Tensor, Tensor]  # unit, in the world
    pixel_by_ab: tuple[Tensor, Tensor, Tensor, Tensor]  # du/da, du/db, dv/da, dv/db: pixels as they were seen
    seen: Tensor  # bool


def view_pairs(num_views: int, max_pairs: int, seed: int) -> Tensor:
    """Pairs of views [P,2]: all of them, or `max_pairs` drawn from `seed`."""
    pairs = torch.tensor(list(itertools.combinations(range(num_views), 2))).reshape(-1, 2)
    if len(pairs) <= max_pairs:
        return pairs
    drawn = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))[:max_pairs]
    return pairs[drawn.sort().values]


def best_pair(
    rays: Rays, weights: Tensor, rig: Rig, pairs: Tensor, threshold_px: float
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """The midpoint of two rays that the views together agree with best.

    The cost of a midpoint is sum_v w_v min(r_v^2, threshold^2) with the residual r_v in pixels, to first order
    about what was seen; a view that has it behind costs threshold^2. Of equal costs the first pair wins.

    Args:
        rays: V views of n points.
        weights: [V,n].
        rig: the V cameras.
        pairs: [P,2].
        threshold_px: from where a view disagrees.

    Returns:
        The coordinates (x [n], y [n], z [n]), and the cost [n], infinite where no pair is seen.
    """
    first, second = pairs.to(rays.a.device).unbind(-1)
    midpoint, sound = _midpoints(rays, rig.centres(), first, second)
    cost = torch.zeros_like(midpoint[0])
    for view in range(len(rig.K)):
        cost = cost + _view_cost(rays, weights, rig, view, midpoint, threshold_px)
    cost = cost.where(sound, torch.inf)
    chosen = cost.argmin(0, keepdim=True)
    x, y, z = (coordinate.gather(0, chosen)[0] for coordinate in midpoint)
    return (x, y, z), cost.gather(0, chosen)[0]


def _midpoints(
    rays: Rays, centres: Tensor, first: Tensor, second: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """The points closest to both rays of every pair, three [P,n], and where there are any, bool [P,n]."""
    d1 = [component[first] for component in rays.direction]
    d2 = [component[second] for component in rays.direction]
    c1 = [component[first, None] for component in centres.unbind(-1)]
    c2 = [component[second, None] for component in centres.unbind(-1)]
    between = [one - other for one, other in zip(c1, c2, strict=True)]
    cosine, along_1, along_2 = _dot(d1, d2), _dot(d1, between), _dot(d2, between)
    sine_squared = 1 - cosine * cosine
    reach_1 = (cosine * along_2 - along_1) / sine_squared
    reach_2 = (along_2 - cosine * along_1) / sine_squared
    x, y, z = ((c1[k] + reach_1 * d1[k] + c2[k] + reach_2 * d2[k]) / 2 for k in range(3))
    return (x, y, z), rays.seen[first] & rays.seen[second] & (sine_squared > PARALLEL)


def _view_cost(
    rays: Rays,
    weights: Tensor,
    rig: Rig,
    view: int,
    point: tuple[Tensor, Tensor, Tensor],
    threshold_px: float,
) -> Tensor:
    x, y, z = point
    rows = rig.R[view].tolist()
    camera = [r[0] * x + r[1] * y + r[2] * z + t for r, t in zip(rows, rig.t[view].tolist(), strict=True)]
    off_a = camera[0] / camera[2] - rays.a[view]
    off_b = camera[1] / camera[2] - rays.b[view]
    u_a, u_b, v_a, v_b = (entry[view] for entry in rays.pixel_by_ab)
    squared = (u_a * off_a + u_b * off_b).square() + (v_a * off_a + v_b * off_b).square()
    worst = threshold_px**2
    squared = squared.clamp(max=worst).where((camera[2] > 0) & (squared < worst), worst)
    return (weights[view] * squared).where(rays.seen[view], 0.0)


def _dot(a: list[Tensor], b: list[Tensor]) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
