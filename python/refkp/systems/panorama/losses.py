"""Losses that ask for equal features where tiles overlap: pure functions, one per way of pairing tokens.

`overlap_vicreg` compares tokens that see the same direction; `sequential_strip_vicreg` compares the facing
strips of consecutive views, as earlier implementations did. Source: spec panorama 3.3, 3.5 and 12.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_shape
from refkp.ops import VICRegTerms, vicreg
from refkp.systems.panorama.correspondence import CorrespondenceTable, gather_pairs, require_grid


@dataclass(frozen=True)
class VICRegOptions:
    """The constants of the VICReg terms, as `ops.vicreg` takes them.

    Args:
        coefficients: weights of the invariance, variance and covariance terms.
        gamma: standard deviation below which the variance term acts.
        eps: added to the variance under the root.
        unbiased: divide the variance by n - 1 instead of n.
        covariance: "sum" of the two branches, or their "mean".
    """

    coefficients: tuple[float, float, float] = (25.0, 25.0, 1.0)
    gamma: float = 1.0
    eps: float = 1e-4
    unbiased: bool = False
    covariance: Literal["sum", "mean"] = "mean"


class OverlapLoss(NamedTuple):
    """A loss and its unweighted terms, scalars."""

    total: Tensor
    invariance: Tensor
    variance: Tensor
    covariance: Tensor
    loss_path: str  # which tokens were compared, for the log


def overlap_vicreg(
    features: Tensor,
    table: CorrespondenceTable,
    options: VICRegOptions = VICRegOptions(),
    *,
    scope: Literal["pair", "all"] = "pair",
    backend: str | None = None,
) -> OverlapLoss:
    """VICReg between the tokens of two tiles that see the same direction.

    total = mean over ordered pairs p of a inv_p + b var_p + c cov_p, terms of `ops.vicreg`.

    Args:
        features: [B,V,S,D], every view of every sample, float32 statistics.
        table: the correspondences of the layout, on the device of `features`.
        scope: which tokens the variance and the covariance describe: those of one "pair" of tiles in one
            sample, or "all" correspondences of the batch.
        options, backend: as in `ops.vicreg`.

    Returns:
        Scalars; gradients reach `features`.
    """
    require_choice("overlap_vicreg", "scope", scope, ("pair", "all"))
    x, y, offsets = gather_pairs(features, table)
    terms = vicreg(x, y, offsets if scope == "pair" else None, **_arguments(options), backend=backend)
    return _mean_terms(terms, f"overlap/{scope}")


def sequential_strip_vicreg(
    features: Tensor,
    grid: tuple[int, int],
    overlap_ratio: float,
    options: VICRegOptions = VICRegOptions(),
    *,
    mode: Literal["pairwise", "batchwise"] = "pairwise",
    num_prefix_tokens: int = 0,
    backend: str | None = None,
) -> OverlapLoss:
    """VICReg between the right strip of every view and the left strip of the next one in a ring.

    Kept for comparison: at the default layout 6 % of these token pairs lie within half a token of each other.
    "pairwise" takes variance and covariance over the tokens of one strip, "batchwise" over all tokens of both
    sides. Values are never clamped.

    Args:
        features, grid, overlap_ratio, num_prefix_tokens: as in `sequential_strips`.
        options, backend: as in `ops.vicreg`.
    """
    require_choice("sequential_strip_vicreg", "mode", mode, ("pairwise", "batchwise"))
    strips = sequential_strips(features, grid, overlap_ratio, num_prefix_tokens=num_prefix_tokens)
    pairs, length, _ = strips.current.shape
    x, y = strips.current.flatten(0, 1), strips.following.flatten(0, 1)
    arguments = _arguments(options)
    if mode == "pairwise":
        offsets = torch.arange(pairs + 1, device=x.device) * length
        terms = vicreg(x, y, offsets, **arguments, backend=backend)
        return _mean_terms(terms, "strips/pairwise")
    invariance = vicreg(x, y, **arguments, backend=backend).invariance.mean()
    both = torch.cat((x, y))
    statistics = vicreg(both, both, **{**arguments, "covariance": "mean"}, backend=backend)
    variance, covariance = statistics.variance.mean(), statistics.covariance.mean()
    a, b, c = options.coefficients
    total = a * invariance + b * variance + c * covariance
    return OverlapLoss(total, invariance, variance, covariance, loss_path="strips/batchwise")


class Strips(NamedTuple):
    """Facing strips of consecutive views, P = B*V pairs of L tokens, row by row."""

    current: Tensor  # [P,L,D], right columns of view v
    following: Tensor  # [P,L,D], left columns of view (v + 1) mod V


def sequential_strips(
    features: Tensor, grid: tuple[int, int], overlap_ratio: float, *, num_prefix_tokens: int = 0
) -> Strips:
    """The strips that `sequential_strip_vicreg` compares: k = max(1, int(Gw * overlap_ratio)) columns of each
    view.

    Args:
        features: [B,V,S,D]; the first `num_prefix_tokens` tokens of each view (class tokens) are left out.
        grid: (Gh, Gw) of the remaining tokens.
        overlap_ratio: in (0,1].
    """
    require_shape("sequential_strips", "features", features, "B,V,S,D")
    if not 0 < overlap_ratio <= 1:
        fail("sequential_strips", "overlap_ratio", "in (0,1]", overlap_ratio)
    tokens = features[:, :, num_prefix_tokens:]
    require_grid("sequential_strips", tokens.shape[2], grid)
    cells = tokens.unflatten(2, grid)
    columns = max(1, math.floor(grid[1] * overlap_ratio))
    right = cells[..., grid[1] - columns :, :]
    left = cells[..., :columns, :].roll(-1, 1)
    return Strips(*(strip.flatten(2, 3).flatten(0, 1) for strip in (right, left)))


def _mean_terms(terms: VICRegTerms, loss_path: str) -> OverlapLoss:
    total, invariance, variance, covariance = (term.mean() for term in terms)
    return OverlapLoss(total, invariance, variance, covariance, loss_path)


def _arguments(options: VICRegOptions) -> dict[str, Any]:
    return {
        "coefficients": options.coefficients,
        "gamma": options.gamma,
        "eps": options.eps,
        "unbiased": options.unbiased,
        "covariance": options.covariance,
    }
