"""What every loss returns, and the constants of VICReg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor

from refkp.ops import VICRegTerms


class LossTerms(NamedTuple):
    """A loss and what it is made of, scalars."""

    total: Tensor
    terms: Mapping[str, Tensor]  # the unweighted terms by name, for the log
    loss_path: str  # which tokens were compared and how, for the log


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

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `ops.vicreg`."""
        return asdict(self)


def weighted_terms(
    options: VICRegOptions, invariance: Tensor, variance: Tensor, covariance: Tensor, loss_path: str
) -> LossTerms:
    """total = a invariance + b variance + c covariance."""
    a, b, c = options.coefficients
    terms = {"invariance": invariance, "variance": variance, "covariance": covariance}
    return LossTerms(a * invariance + b * variance + c * covariance, terms, loss_path)


def mean_terms(options: VICRegOptions, terms: VICRegTerms, loss_path: str) -> LossTerms:
    """The mean over all segments."""
    return weighted_terms(
        options, terms.invariance.mean(), terms.variance.mean(), terms.covariance.mean(), loss_path
    )
