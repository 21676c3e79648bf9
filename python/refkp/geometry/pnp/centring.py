"""Problems about the middle of their points, where a turn and a shift do not stand for each other.

The frame of an object may lie far from it. A step of the rotation then moves all points alike, the normal
equations are ill-conditioned, and damping or rounding stops the solver degrees away. So it works about c, the
weighted mean of the points: with x' = x - c

    R x + t = R x' + t',  t' = t + R c,  and of local steps  dt = dt' - skew(2 R c) dr,  dr = dr'.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from refkp.geometry.pnp.cost import finite_objects
from refkp.geometry.pnp.levenberg_marquardt import PnPSolution
from refkp.geometry.pnp.problem import PnPProblem, PnPSpec
from refkp.geometry.rotations import quaternion_to_matrix


def weighted_mean(problem: PnPProblem, spec: PnPSpec) -> Tensor:
    """c [B,3] without a graph; 0 for objects that cannot be solved, which centring must not hide."""
    weight = torch.where(problem.is_valid, problem.weights.detach().mean(-1), 0.0)[..., None]
    points = torch.where(problem.is_valid[..., None], problem.points.detach(), 0.0)
    mean = (weight * points).sum(1) / weight.sum(1)
    sound = finite_objects(problem, spec.z_min) & torch.isfinite(mean).all(-1)
    return torch.where(sound[:, None], mean, 0.0)


def centred_about(problem: PnPProblem, centre: Tensor) -> PnPProblem:
    """The same problem with points x - c; gradients reach the points as before."""
    return dataclasses.replace(problem, points=problem.points - centre[:, None])


def pose_about(pose: Tensor, centre: Tensor) -> Tensor:
    """Poses [...,B,7] of an object whose points were moved by -c: t + R c. With -c it is undone."""
    moved = (quaternion_to_matrix(pose[..., 3:]) @ centre[..., None]).squeeze(-1)
    return torch.cat((pose[..., :3] + moved, pose[..., 3:]), dim=-1)


def solution_about(solution: PnPSolution, centre: Tensor) -> PnPSolution:
    """A solution, pose and covariance, of an object whose points were moved by -c; `pose_about` tells the pose."""
    covariance = covariance_about(solution.covariance, solution.pose, centre)
    return solution._replace(pose=pose_about(solution.pose, centre), covariance=covariance)


def covariance_about(covariance: Tensor, pose: Tensor, centre: Tensor) -> Tensor:
    """Covariances [B,6,6] of local steps (dt, dr) at poses [B,7], of an object whose points were moved by -c."""
    lever = 2 * (quaternion_to_matrix(pose[..., 3:]) @ centre[..., None]).squeeze(-1)
    change = torch.eye(6, dtype=pose.dtype, device=pose.device).repeat(len(pose), 1, 1)
    identity = torch.eye(3, dtype=pose.dtype, device=pose.device)
    # Columns of skew(v) are v x e_i.
    change[:, :3, 3:] = torch.linalg.cross(
        lever[:, None].expand(-1, 3, -1), identity.expand(len(pose), 3, 3)
    ).mT
    return change @ covariance @ change.mT
