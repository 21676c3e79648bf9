"""A loss on where the next solver step would go, which teaches the derivatives at the solution."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.pnp.levenberg_marquardt import PnPSolution, gauss_newton_step
from refkp.geometry.pnp.pose import sound_pose
from refkp.geometry.pnp.precision import full_precision
from refkp.geometry.pnp.problem import PnPProblem, PnPSpec


class DerivativeLoss(NamedTuple):
    """Pose errors after one differentiable step; 0 without gradient where it failed."""

    translation: Tensor  # [B], smooth-L1 of the distance
    rotation: Tensor  # [B], 2 (1 - (q . q_true)^2)
    failed: Tensor  # bool [B]

    @property
    def means(self) -> tuple[Tensor, Tensor]:
        """Means of (translation, rotation) over the objects that did not fail; 0 if all did."""
        count = (~self.failed).sum().clamp(min=1)
        return self.translation.sum() / count, self.rotation.sum() / count


@full_precision
def derivative_loss(
    problem: PnPProblem,
    solution: PnPSolution,
    pose_true: Tensor,
    spec: PnPSpec = PnPSpec(),  # noqa: B008 (frozen)
    *,
    beta: float = 0.05,
) -> DerivativeLoss:
    """Errors of the pose one Gauss-Newton step after the (constant) solution.

    With distance d of the translations, d^2/(2 beta) up to beta, then d - beta/2; with the quaternions
    2 (1 - (q . q_true)^2).

    Args:
        problem: B objects; gradients reach points, pixels and weights through the step.
        solution: where the step starts.
        pose_true: [B,7].
        spec: the constants of the step.
        beta: where the distance turns from quadratic to linear, in the unit of the points.

    Raises:
        ValueError: a shape does not fit.

    Source: spec pose 4.4 (derivative regularisation).
    """
    problem.require_pose("derivative_loss", "pose_true", pose_true)
    true, bad = sound_pose(pose_true)
    after = gauss_newton_step(problem, solution.pose.detach(), spec)
    dot = (after.pose[:, 3:] * true[:, 3:]).sum(-1)
    squared = (after.pose[:, :3] - true[:, :3]).square().sum(-1)
    far = squared > beta**2
    length = torch.where(far, squared, 1.0).sqrt()
    translation = torch.where(far, length - beta / 2, squared / (2 * beta))
    rotation = 2 * (1 - dot.square())
    failed = solution.failed | after.failed | bad | ~torch.isfinite((translation + rotation).detach())
    return DerivativeLoss(torch.where(failed, 0.0, translation), torch.where(failed, 0.0, rotation), failed)
