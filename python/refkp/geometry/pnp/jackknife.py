"""The covariance of a pose from correspondences that err together in groups."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp._checks import fail, require_dtype, require_shape
from refkp.geometry.pnp.centring import centred_about, covariance_about, pose_about, weighted_mean
from refkp.geometry.pnp.cost import RobustReprojection
from refkp.geometry.pnp.precision import full_precision, stable_cholesky
from refkp.geometry.pnp.problem import PnPProblem, PnPSpec


@torch.no_grad()
@full_precision
def grouped_covariance(
    problem: PnPProblem,
    pose: Tensor,
    group: Tensor,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
) -> Tensor:
    """Covariance of a solution by leaving out one group of correspondences at a time (jackknife).

    The inverse of J^T J takes every correspondence as a piece of evidence of its own. Pixels of one patch err
    together, so the patch is the piece. Without group g the solution moves, to first order, by

        d_g = (J^T J - J_g^T J_g)^-1 J_g^T r_g,   covariance = (G - 1)/G sum_g (d_g - mean d)(d_g - mean d)^T.

    What all groups have in common moves none of these solutions and is not in it.

    Args:
        problem: B objects.
        pose: [B,7], solutions.
        group: [B,n] int64, the group of each correspondence, 0 or more; padding is left out.
        spec: the constants of the cost.

    Returns:
        [B,6,6] of the local step (dt, dr) as in `PnPSolution.covariance`; NaN where an object has fewer than two
        groups, or where one of them alone fixes a degree of freedom.

    Raises:
        ValueError: wrong shapes or dtypes.

    Source: MacKinnon, Nielsen and Webb, "Fast and reliable jackknife and bootstrap methods for cluster-robust
    inference", Journal of Applied Econometrics 2023 (CV3).
    """
    problem.require_pose("grouped_covariance", "pose", pose)
    require_shape("grouped_covariance", "group", group, "B,n", B=len(pose), n=problem.points.shape[1])
    require_dtype("grouped_covariance", "group", group, (torch.int64,))
    if group.numel() and int(group.min()) < 0:
        fail("grouped_covariance", "group", "0 or more", int(group.min()))
    centre = weighted_mean(problem, spec)
    robust = RobustReprojection(centred_about(problem, centre), spec)
    middle = pose_about(pose, centre)
    at = robust.linearise(middle)
    jacobian = at.jacobian.unflatten(-2, (-1, 2))  # [B,n,2,6]
    weighted = (robust.weights > 0).any(-1)
    hessians = jacobian.mT @ jacobian
    gradients = (jacobian.mT @ at.residual.unflatten(-1, (-1, 2))[..., None]).squeeze(-1)
    covariance = torch.stack(
        [
            _jackknife(hessian[kept], gradient[kept], groups[kept], spec.eps)
            for hessian, gradient, groups, kept in zip(hessians, gradients, group, weighted, strict=True)
        ]
    )
    return covariance_about(covariance, middle, -centre)


def _jackknife(hessian: Tensor, gradient: Tensor, group: Tensor, eps: float) -> Tensor:
    """[6,6], of one object; per correspondence J^T J [n,6,6] and J^T r [n,6]."""
    nowhere = hessian.new_full((6, 6), torch.nan)
    values, index = group.unique(return_inverse=True)
    count = len(values)
    if count < 2:
        return nowhere
    hessians = hessian.new_zeros(count, 6, 6).index_add(0, index, hessian)
    gradients = gradient.new_zeros(count, 6).index_add(0, index, gradient)
    others = hessians.sum(0) - hessians
    identity = torch.eye(6, dtype=hessian.dtype, device=hessian.device)
    factor, failed = stable_cholesky(others + eps * identity)
    if bool(failed.any()):
        return nowhere
    moves = torch.cholesky_solve(gradients[..., None], factor).squeeze(-1)
    moves = moves - moves.mean(0)
    return (count - 1) / count * moves.mT @ moves
