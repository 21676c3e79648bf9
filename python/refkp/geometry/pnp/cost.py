"""The robust reprojection cost of poses, its residuals and its Jacobian."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from refkp._checks import require_trailing
from refkp.geometry.pnp.precision import full_precision
from refkp.geometry.pnp.problem import PnPProblem, PnPSpec
from refkp.geometry.rotations import quaternion_to_matrix

#: Residuals (poses x objects x points) that are held at once; more are computed in chunks of poses.
CHUNK_RESIDUALS = 2**21
#: Largest residual that is computed with, as a part of the root of the largest number of its dtype.
OVERFLOW_MARGIN = 1e-3


class Linearisation(NamedTuple):
    """The cost at a pose to second order in the local step (dt, dr), as nonlinear least squares.

    cost(step) is about cost + (J^T r)^T step + step^T J^T J step / 2. Rows are point-major, x before y, and
    scaled by sqrt(min(1, threshold/s)), so that far residuals s pull as in the robust cost.
    """

    cost: Tensor  # [...,B]
    residual: Tensor  # [...,B,2n]
    jacobian: Tensor  # [...,B,2n,6]

    @property
    def hessian(self) -> Tensor:
        """J^T J, [...,B,6,6]."""
        return self.jacobian.mT @ self.jacobian

    @property
    def gradient(self) -> Tensor:
        """J^T r, [...,B,6]."""
        return (self.jacobian.mT @ self.residual[..., None]).squeeze(-1)


@full_precision
def robust_threshold(problem: PnPProblem, relative_threshold: float) -> Tensor:
    """Threshold of the robust cost: relative_threshold * mean(w) * sqrt(var(u) + var(v)).

    The mean is over points and axes, the variances of the pixels are unbiased; padding is left out.

    Returns:
        [B], with gradient to the weights alone.

    Source: spec pose 4.4.
    """
    valid = problem.is_valid[..., None]
    count = valid.sum(1)  # [B,1]
    pixels = torch.where(valid, problem.pixels.detach(), 0.0)
    mean = pixels.sum(1) / count.clamp(min=1)
    deviation = torch.where(valid, pixels - mean[:, None], 0.0)
    variance = deviation.square().sum(1) / (count - 1).clamp(min=1)
    weight = torch.where(valid, problem.weights, 0.0).sum(1) / count.clamp(min=1)
    return relative_threshold * weight.mean(-1) * variance.sum(-1).sqrt()


class RobustReprojection:
    """The cost function of a problem.

    cost(pose) = sum over points of h(s), s = |w (proj(pose) - u)|; h = s^2/2 up to threshold, then
    threshold s - threshold^2/2. Points nearer than `z_min`, or behind the camera, are projected as if at `z_min`.

    Objects that cannot be solved (an element that is not finite, or whose square would not be; too few points)
    are replaced by an empty one, so that they neither raise nor pass on NaN; `usable` tells which were kept.

    Args:
        problem: the correspondences.
        spec: `z_min`, `relative_threshold` and `min_points` are read.
    """

    def __init__(self, problem: PnPProblem, spec: PnPSpec) -> None:
        valid = problem.is_valid
        finite = finite_objects(problem, spec.z_min)
        keep = (valid & finite[:, None])[..., None]
        identity = torch.eye(3, dtype=problem.K.dtype, device=problem.K.device)
        self.points = torch.where(keep, problem.points, 0.0)
        self.pixels = torch.where(keep, problem.pixels, 0.0)
        self.weights = torch.where(keep, problem.weights, 0.0)
        self.K = torch.where(finite[:, None, None], problem.K, identity)
        self.z_min = spec.z_min
        kept = PnPProblem(self.points, self.pixels, self.weights, self.K, valid)
        self.threshold = robust_threshold(kept, spec.relative_threshold)
        self._spread = self.threshold.detach() / spec.relative_threshold
        self.usable = finite & ((self.weights.detach() > 0).any(-1).sum(1) >= spec.min_points)

    @full_precision
    def cost(self, pose: Tensor) -> Tensor:
        """Cost [...,B] of poses [...,B,7]; beyond `CHUNK_RESIDUALS` it is recomputed chunk by chunk in the
        backward pass instead of kept."""
        num_objects, num_points = self.points.shape[:2]
        require_trailing("RobustReprojection.cost", "pose", pose, f"{num_objects},7")
        poses = pose[None] if pose.dim() == 2 else pose.flatten(0, -3)
        chunk = max(1, CHUNK_RESIDUALS // max(1, num_objects * num_points))
        if len(poses) <= chunk:
            return self._cost(poses).reshape(pose.shape[:-1])
        costs = [
            checkpoint(self._cost, part, use_reentrant=False, preserve_rng_state=False)
            for part in poses.split(chunk)
        ]
        return torch.cat(costs).reshape(pose.shape[:-1])

    @full_precision
    def linearise(self, pose: Tensor, *, clip: bool = True) -> Linearisation:
        """Residuals, Jacobian and cost at poses [...,B,7].

        Args:
            pose: with unit quaternions.
            clip: zero the rows of points nearer than `z_min`, which then pull nowhere.
        """
        require_trailing("RobustReprojection.linearise", "pose", pose, f"{len(self.points)},7")
        rotated = self.points @ quaternion_to_matrix(pose[..., 3:]).mT
        projected, depth = self._project((rotated + pose[..., None, :3]) @ self.K.mT)
        # d proj/d x_cam = (K_uv - proj (0,0,1))/z; d x_cam/d dr = skew(2 R x), so a row a becomes a x 2 R x.
        third = torch.eye(3, dtype=pose.dtype, device=pose.device)[2]
        rows = (self.K[:, None, :2] - projected[..., None] * third) / depth[..., None]
        turns = torch.linalg.cross(rows, 2 * rotated[..., None, :].expand_as(rows))
        jacobian = torch.cat((rows, turns), dim=-1)
        if clip:
            jacobian = torch.where((depth <= self.z_min)[..., None], 0.0, jacobian)
        residual = self.weights * (projected - self.pixels)
        scale = self._influence(residual)[..., None]
        return Linearisation(
            self._huber(residual),
            (residual * scale).flatten(-2),
            (jacobian * (self.weights * scale)[..., None]).flatten(-3, -2),
        )

    def misfit(self, cost: Tensor) -> Tensor:
        """sqrt(2 cost / n) over the spread mean(w) sqrt(var(u) + var(v)) of the n pixels with weight, [...,B].

        It has no unit: 0 for exact matches, the error in pixels over the size of the object as it is seen for
        noisy ones, and towards 1 for a pose that explains nothing.
        """
        count = (self.weights.detach() > 0).any(-1).sum(1).clamp(min=1)
        least = torch.finfo(cost.dtype).tiny
        return (2 * cost.detach() / count).sqrt() / self._spread.clamp(min=least)

    def _cost(self, pose: Tensor) -> Tensor:
        matrix = self.K @ quaternion_to_matrix(pose[..., 3:])
        shift = (self.K @ pose[..., :3, None]).mT
        projected, _ = self._project(self.points @ matrix.mT + shift)
        return self._huber(self.weights * (projected - self.pixels))

    def _project(self, homogeneous: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels [...,2] and clamped depth [...,1]."""
        depth = homogeneous[..., 2:].clamp(min=self.z_min)
        return homogeneous[..., :2] / depth, depth

    def _huber(self, residual: Tensor) -> Tensor:
        squared, threshold = residual.square().sum(-1), self.threshold[:, None]
        far = squared > threshold.square()
        length = torch.where(far, squared, 1.0).sqrt()  # no root near zero: its gradient is infinite
        return torch.where(far, threshold * length - threshold.square() / 2, squared / 2).sum(-1)

    def _influence(self, residual: Tensor) -> Tensor:
        """sqrt(min(1, threshold/s)), [...,B,n]."""
        squared, threshold = residual.square().sum(-1), self.threshold[:, None]
        far = squared > threshold.square()
        nowhere = far & (threshold <= 0)
        length = torch.where(far, squared, 1.0).sqrt()
        return torch.where(nowhere, 0.0, torch.where(far & ~nowhere, threshold / length, 1.0).sqrt())


def pose_cost(problem: PnPProblem, pose: Tensor, spec: PnPSpec = PnPSpec()) -> Tensor:  # noqa: B008 (frozen)
    """Robust reprojection cost of poses.

    Args:
        problem: B objects.
        pose: [...,B,7].
        spec: the constants of the cost.

    Returns:
        [...,B], with gradient to the problem and the poses; 0 for objects that cannot be solved. Memory is
        bounded: many poses are computed in chunks.

    Raises:
        ValueError: the last axes of `pose` are not [B,7].

    Source: spec pose 4.4.
    """
    return RobustReprojection(problem, spec).cost(pose)


def finite_objects(problem: PnPProblem, z_min: float) -> Tensor:
    """Objects whose valid correspondences and intrinsics are finite, and so small that no square overflows."""
    valid = problem.is_valid[..., None]
    tensors = [
        torch.where(valid, tensor.detach(), 0.0).flatten(1)
        for tensor in (problem.points, problem.pixels, problem.weights)
    ]
    tensors.append(problem.K.detach().flatten(1))
    # The zero is for objects without points, which have no largest element.
    points, pixels, weights, focal = (functional.pad(tensor.abs(), (0, 1)).amax(1) for tensor in tensors)
    largest = weights * (pixels + focal * points / z_min)
    finite = torch.stack([torch.isfinite(tensor).all(1) for tensor in tensors]).all(0)
    return finite & (largest < OVERFLOW_MARGIN * torch.finfo(largest.dtype).max ** 0.5)
