"""What a PnP problem is, and the constants of its solver and of its Monte-Carlo loss."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from refkp._checks import fail, require_input, require_same

DTYPES = (torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class PnPProblem:
    """B objects with n weighted correspondences each between object points and pixels.

    The residual of a point is w (proj(K (R x + t)) - u), per axis. A point of weight 0 costs nothing, but it
    counts in the scale of the robust cost; padding is marked by `valid`, and then it counts nowhere.

    Args:
        points: [B,n,3], float32 or float64, in the object's frame. The constants assume metres.
        pixels: [B,n,2], where the points are seen.
        weights: [B,n,2], at least 0, in 1/pixel: the inverse of the expected error of each axis.
        K: [B,3,3], intrinsics with the last row (0,0,1).
        valid: [B,n] bool, False for padding; None: every point is one.

    Raises:
        ValueError: a shape, dtype or device does not fit.
    """

    points: Tensor
    pixels: Tensor
    weights: Tensor
    K: Tensor
    valid: Tensor | None = None

    def __post_init__(self) -> None:
        require_input("PnPProblem", "points", self.points, "B,n,3", DTYPES)
        sizes = {"B": self.points.shape[0], "n": self.points.shape[1]}
        for name, pattern in (("pixels", "B,n,2"), ("weights", "B,n,2"), ("K", "B,3,3")):
            require_input("PnPProblem", name, getattr(self, name), pattern, DTYPES, **sizes)
            require_same("PnPProblem", name, getattr(self, name), "points", self.points)
        if self.valid is not None:
            require_input("PnPProblem", "valid", self.valid, "B,n", (torch.bool,), **sizes)
            require_same("PnPProblem", "valid", self.valid, "points", self.points, dtype=False)

    @property
    def is_valid(self) -> Tensor:
        """Which points are no padding, bool [B,n]."""
        if self.valid is not None:
            return self.valid
        return self.points.new_ones(self.points.shape[:2], dtype=torch.bool)

    def require_pose(self, function: str, argument: str, pose: Tensor) -> None:
        """Raise ValueError unless `pose` is one pose per object [B,7] of the problem's dtype and device."""
        require_input(function, argument, pose, "B,7", DTYPES, B=len(self.points))
        require_same(function, argument, pose, "points", self.points)


@dataclass(frozen=True)
class InitialisationSpec:
    """Random restarts on subsets (RSLM).

    Args:
        points: size of a subset.
        proposals: number of subsets per object.
        iterations: Levenberg-Marquardt iterations on a subset.
    """

    points: int = 16
    proposals: int = 64
    iterations: int = 3

    def __post_init__(self) -> None:
        if self.proposals < 1:
            fail("InitialisationSpec", "proposals", "at least 1", self.proposals)


@dataclass(frozen=True)
class MonteCarloSpec:
    """Adaptive importance sampling of poses (AMIS).

    Args:
        samples: drawn in all iterations together.
        iterations: proposals, each fitted to all samples before it.
        rotation_iterations: fixed-point iterations that fit the rotation proposal.
        rotation_dispersion: share of an isotropic part in the rotation proposal.
        rotation_eps: added to the diagonal in that fit, and the least squared length in it.
    """

    samples: int = 512
    iterations: int = 4
    rotation_iterations: int = 3
    rotation_dispersion: float = 0.001
    rotation_eps: float = 1e-5

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.samples < self.iterations or self.samples % self.iterations:
            got = f"{self.samples} for {self.iterations} iterations"
            fail("MonteCarloSpec", "samples", "a positive multiple of `iterations`", got)


@dataclass(frozen=True)
class PnPSpec:
    """The robust cost and its minimisation.

    Args:
        z_min: depth below which the projection divides by `z_min` instead, in the unit of the points.
        relative_threshold: threshold of the robust cost relative to the spread of the pixels.
        eps: added to the diagonal of the normal equations and of the covariance's inverse.
        iterations: of Levenberg-Marquardt.
        fast_iterations: of plain Gauss-Newton.
        initial_radius: of the trust region.
        max_misfit: a solution whose root mean square residual, relative to the spread of the pixels, is larger
            is marked `poor`.
        min_points: an object with fewer points of positive weight fails.
        initialisation, monte_carlo: the constants of the start and of the loss.
    """

    z_min: float = 0.01
    relative_threshold: float = 0.5
    eps: float = 1e-5
    iterations: int = 5
    fast_iterations: int = 3
    initial_radius: float = 30.0
    max_misfit: float = 0.25
    min_points: int = 4
    initialisation: InitialisationSpec = field(default_factory=InitialisationSpec)
    monte_carlo: MonteCarloSpec = field(default_factory=MonteCarloSpec)

    def __post_init__(self) -> None:
        for name in ("z_min", "relative_threshold", "eps", "initial_radius", "max_misfit"):
            if not getattr(self, name) > 0:
                fail("PnPSpec", name, "above 0", getattr(self, name))
        if self.min_points < 4:
            remedy = "Three points leave up to four poses."
            fail("PnPSpec", "min_points", "at least 4", self.min_points, remedy)
        if self.initialisation.points < self.min_points:
            rule = f"at least `min_points` ({self.min_points})"
            fail("PnPSpec", "initialisation.points", rule, self.initialisation.points)
