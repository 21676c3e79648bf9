"""The pose of least weighted error, and how sure it is: EPro-PnP's solver on matches. Source: spec pose 4.4, 6.3."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.pnp import (
    PnPProblem,
    PnPSpec,
    grouped_covariance,
    matrix_to_pose,
    pose_to_matrix,
    solve,
)
from refkp.systems.pose.inference.failure import EstimateFailure, no_consensus
from refkp.systems.pose.inference.spec import MIN_MATCHES, SolverSpec

_MM = 1000.0  # millimetres in a metre, the unit of the solver's constants

#: The local step (dt, dr) of the solver in metres as (translation, rotation vector): q + T(q) dr turns a point
#: by -2 dr in the camera's frame.
_STEP_TO_MM_RAD = (_MM, _MM, _MM, -2.0, -2.0, -2.0)


class WeightedPose(NamedTuple):
    """A pose and its uncertainty."""

    cam_from_obj: Tensor  # float64 [4,4], millimetres
    covariance: Tensor  # float64 [6,6] of (translation in mm, rotation vector in rad), see `solve_weighted`

    @property
    def sigma_mm(self) -> float:
        """Root of the mean squared distance that the covariance expects, millimetres."""
        return float(self.covariance[:3, :3].trace().sqrt())

    @property
    def sigma_deg(self) -> float:
        """Root of the mean squared angle that the covariance expects, degrees."""
        return math.degrees(float(self.covariance[3:, 3:].trace().sqrt()))


def solve_weighted(
    points: Tensor,
    uv: Tensor,
    weight: Tensor,
    K: Tensor,
    group: Tensor,
    *,
    start: Tensor | None,
    spec: SolverSpec = SolverSpec(),  # noqa: B008 (frozen)
    seed: int = 0,
) -> WeightedPose | EstimateFailure:
    """Levenberg-Marquardt on the robust weighted reprojection error, and the covariance at the solution.

    The covariance is that of the pose when one group of matches at a time is left out: matches of one patch are
    one piece of evidence (`grouped_covariance`). A true pose is

        R_true = exp([w]x) R,   t_true = t + dt,   (dt, w) ~ N(0, covariance)

    in the camera's frame.

    Args:
        points: [m,3] float, millimetres in the object's frame.
        uv: [m,2] float, pixels.
        weight: [m] float, 1 / pixel, >= 0; capped at `spec.max_weight`.
        K: [3,3] float, pixels.
        group: [m] int64, matches of one group err together.
        start: [4,4], millimetres; None starts from random subsets of the matches (RSLM), as EPro-PnP does.
        spec: iterations and cap.
        seed: of the random subsets.

    Returns:
        WeightedPose, or EstimateFailure where the matches do not fix a pose.

    Source: spec pose 4.4, 6.3.
    """
    if len(points) < MIN_MATCHES:
        text = f"{len(points)} matches have a 3D point; a pose needs at least {MIN_MATCHES}."
        return EstimateFailure("too_few_matches", text)
    weights = weight.double().clamp(max=spec.max_weight)[None, :, None].expand(1, -1, 2).contiguous()
    problem = PnPProblem(points.double()[None] / _MM, uv.double()[None], weights, K.double()[None])
    constants = PnPSpec(iterations=spec.iterations)
    first = None if start is None else matrix_to_pose(_scaled(start.double(), 1 / _MM))[None]
    solution = solve(problem, constants, torch.Generator().manual_seed(seed), start=first)
    if bool(solution.failed[0]):
        return _degenerate(f"{len(points)} matches")
    if bool(solution.poor[0]):
        return no_consensus(0, len(points))
    step = grouped_covariance(problem, solution.pose, group[None], constants)[0]
    if not bool(step.isfinite().all()):
        return _degenerate(f"the matches of {len(group.unique())} patches, any one of them left out,")
    unit = torch.tensor(_STEP_TO_MM_RAD, dtype=torch.float64)
    covariance = unit[:, None] * step * unit
    return WeightedPose(_scaled(pose_to_matrix(solution.pose[0]), _MM), covariance)


def _degenerate(evidence: str) -> EstimateFailure:
    text = f"{evidence} do not fix all six degrees of freedom of a pose; show more of the object, or larger."
    return EstimateFailure("degenerate", text)


def _scaled(cam_from_obj: Tensor, factor: float) -> Tensor:
    scaled = cam_from_obj.clone()
    scaled[:3, 3] *= factor
    return scaled
