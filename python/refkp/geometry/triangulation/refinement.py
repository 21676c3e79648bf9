"""Robust least squares of points on pixels as they were seen, n small problems of three unknowns at once.

Sums over views run in order, one view after the other: a view that nothing is seen in adds exact zeros.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.rig import Rig, Sight, folds, sight

Coordinates = tuple[Tensor, Tensor, Tensor]
#: Starts small: the start is a consensus already.
DAMPING, LESS, MORE = 1e-4, 0.1, 10.0


class Observations(NamedTuple):
    """What V views see of n points."""

    u: Tensor  # [V,n] pixels
    v: Tensor  # [V,n]
    weights: Tensor  # [V,n], inverse variances relative to each other
    used: Tensor  # bool [V,n]; where false the rest is of no use


class NormalEquations(NamedTuple):
    """sum w J^T J and sum w J^T r of each point, and its robust cost; every tensor is [n]."""

    xx: Tensor
    xy: Tensor
    xz: Tensor
    yy: Tensor
    yz: Tensor
    zz: Tensor
    x: Tensor
    y: Tensor
    z: Tensor
    cost: Tensor

    def matrix(self) -> Tensor:
        """sum w J^T J [n,3,3]."""
        rows = (self.xx, self.xy, self.xz, self.xy, self.yy, self.yz, self.xz, self.yz, self.zz)
        return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def refine(rig: Rig, seen: Observations, start: Coordinates, scale_px: float, iterations: int) -> Coordinates:
    """Minimise sum_v w_v c^2 log(1 + r_v^2/c^2), Cauchy's cost of pixel distances, by Levenberg-Marquardt.

    Args:
        rig: V cameras.
        seen: V views of n points.
        start: coordinates, each [n].
        scale_px: c, from where a residual counts less.
        iterations: evaluations; a point takes a step only if its cost falls.

    Returns:
        Coordinates, each [n].
    """
    limits = folds(rig)
    state, at = normal_equations(rig, seen, start, scale_px, limits), start
    damping = torch.full_like(start[0], DAMPING)
    for _ in range(iterations):
        steps = _damped_step(state, damping)
        tried = (at[0] - steps[0], at[1] - steps[1], at[2] - steps[2])
        candidate = normal_equations(rig, seen, tried, scale_px, limits)
        better = candidate.cost < state.cost  # false for NaN
        state = NormalEquations(
            *(torch.where(better, new, old) for new, old in zip(candidate, state, strict=True))
        )
        x, y, z = (torch.where(better, new, old) for new, old in zip(tried, at, strict=True))
        at = (x, y, z)
        damping = torch.where(better, damping * LESS, damping * MORE)
    return at


def normal_equations(
    rig: Rig, seen: Observations, at: Coordinates, scale_px: float, limits: Tensor
) -> NormalEquations:
    """The robust normal equations at points; infinite cost where a used view has the point behind it."""
    view = sight(rig, *at)
    off_u, off_v = view.u - seen.u, view.v - seen.v
    relative = (off_u * off_u + off_v * off_v) / scale_px**2
    weights = (seen.weights / (1 + relative)).where(seen.used, 0.0)
    cost = (seen.weights * torch.log1p(relative)).where(view.in_front(limits), torch.inf)
    sums = _sums(rig, view, weights, off_u, off_v, seen.used)
    return NormalEquations(*(*sums, _over_views(cost.where(seen.used, 0.0))))


def _sums(rig: Rig, view: Sight, weights: Tensor, off_u: Tensor, off_v: Tensor, used: Tensor) -> list[Tensor]:
    columns = [[entry[:, None] for entry in column.unbind(-1)] for column in rig.R.unbind(-1)]
    u = [_dot(view.u_by_camera, column).where(used, 0.0) for column in columns]
    v = [_dot(view.v_by_camera, column).where(used, 0.0) for column in columns]
    off_u, off_v = off_u.where(used, 0.0), off_v.where(used, 0.0)
    weighted_u, weighted_v = [weights * entry for entry in u], [weights * entry for entry in v]
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    matrix = [_over_views(weighted_u[i] * u[j] + weighted_v[i] * v[j]) for i, j in pairs]
    return matrix + [_over_views(weighted_u[i] * off_u + weighted_v[i] * off_v) for i in range(3)]


def _dot(row: Coordinates, column: list[Tensor]) -> Tensor:
    return row[0] * column[0] + row[1] * column[1] + row[2] * column[2]


def _over_views(terms: Tensor) -> Tensor:
    """The sum over the first axis, in order."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _damped_step(state: NormalEquations, damping: Tensor) -> Coordinates:
    """(H + damping diag H)^-1 g by Cholesky's factors written out; NaN where H has no inverse."""
    more = 1 + damping
    l00 = (state.xx * more).sqrt()
    l10, l20 = state.xy / l00, state.xz / l00
    l11 = (state.yy * more - l10 * l10).sqrt()
    l21 = (state.yz - l20 * l10) / l11
    l22 = (state.zz * more - l20 * l20 - l21 * l21).sqrt()
    h0 = state.x / l00
    h1 = (state.y - l10 * h0) / l11
    h2 = (state.z - l20 * h0 - l21 * h1) / l22
    z = h2 / l22
    y = (h1 - l21 * z) / l11
    return (h0 - l10 * y - l20 * z) / l00, y, z
