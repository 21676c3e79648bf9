"""All terms of an estimate, and their weighted sum. Source: spec multiview g."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import fail
from refkp.geometry.cameras import Projection, project, projection_matrix
from refkp.geometry.triangulation import triangulate_differentiable
from refkp.nn.ranks import Mean, all_rank_means
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly
from refkp.systems.multiview.losses.cameras import camera_loss
from refkp.systems.multiview.losses.points import keypoint_loss, keypoint_weights, point_loss
from refkp.systems.multiview.losses.rotations import (
    geodesic_loss,
    joint_angle_loss,
    joint_limit_loss,
    rotation_loss,
    square_loss,
)
from refkp.systems.multiview.losses.spec import LossSpec
from refkp.systems.multiview.losses.truth import Truth
from refkp.systems.multiview.model.network import Cameras, Estimate

_TENTHS = 10.0
#: Nearer than this share of an animal's length before a camera, a point has no picture.
_LEAST_DEPTH = 0.05


class ObjectiveTerms(NamedTuple):
    """The weighted sum and its terms; over all ranks in training."""

    total: Tensor  # scalar, with gradient
    values: dict[str, Tensor]  # name -> scalar without its weight
    means: dict[str, Mean]  # name -> of this rank's batch
    joints: Tensor  # [B,J,3] metres, in the frame of the reference view
    projected: Projection  # uv [B,V,J,2] pixels, depth [B,V,J]


class Objective(nn.Module):
    """The terms of a body.

    Args:
        spec: weights and constants.
        body: whose joints are compared, in the order of the labels.
        image_size: side of the pictures.
    """

    joint_weights: Tensor  # [J]
    limits: Tensor | None  # [J]

    def __init__(self, spec: LossSpec, body: Body, image_size: int) -> None:
        super().__init__()
        self.spec, self.image_size = spec, image_size
        self.joints_of = JointsOnly(body)
        unknown = sorted(set(spec.joint_weights) - set(body.joint_names))
        if unknown:
            rule = f"of joints of the body, {', '.join(body.joint_names)}"
            fail("LossSpec", "joint_weights", rule, ", ".join(unknown))
        weights = [spec.joint_weights.get(name, 1.0) for name in body.joint_names]
        self.register_buffer("joint_weights", torch.tensor(weights), persistent=False)
        self.register_buffer("limits", body.limits, persistent=False)

    def forward(
        self, estimate: Estimate, truth: Truth, unit: Tensor, *, calibrated: Tensor, all_ranks: bool
    ) -> ObjectiveTerms:
        """All terms of a batch, in float32.

        Args:
            estimate, truth: in the frames of the reference views.
            unit: scalar, metres, the length of an animal.
            calibrated: bool [B,V], views whose cameras were given: nothing is learned of them.
            all_ranks: means are over the items of all ranks.
        """
        spec, pose = self.spec, estimate.pose
        joints, seen, means = self._joints(pose, estimate.cameras, truth, unit)
        if estimate.places is not None:
            means["places"] = self._in_pictures(estimate.places, truth)
        means |= self._cameras(estimate, truth, calibrated, joints)
        means |= self._regularisers(pose)
        if truth.betas is not None and pose.betas is not None and pose.betas.shape == truth.betas.shape:
            means["betas"] = square_loss(pose.betas - truth.betas, truth.has_betas)
        if spec.triangulation:
            means["triangulation"] = self._triangulated(estimate.cameras, truth, joints, unit)
        for number, earlier in enumerate(estimate.history if spec.intermediate else ()):
            of_it = self._joints(earlier, estimate.cameras, truth, unit)[2]
            means |= {f"{name}/{number + 1}": mean for name, mean in of_it.items()}
        values = all_rank_means(means) if all_ranks else {name: mean.value for name, mean in means.items()}
        total = weighted_total(self.weights(len(estimate.history)), values)
        return ObjectiveTerms(total, values, means, joints, seen)

    def weights(self, num_intermediate: int) -> dict[str, float]:
        """Of all terms, by name; those of correction i of n weigh `intermediate` * i / n."""
        weights = {name: getattr(self.spec, name) for name in _TERMS}
        steps = num_intermediate + 1
        for number in range(1, steps):
            share = self.spec.intermediate * number / steps
            weights |= {f"{name}/{number}": share * getattr(self.spec, name) for name in _OF_JOINTS}
        return weights

    def _joints(
        self, pose: BodyPose, cameras: Cameras, truth: Truth, unit: Tensor
    ) -> tuple[Tensor, Projection, dict[str, Mean]]:
        joints = self.joints_of(pose)
        seen = project(joints[:, None], *cameras)
        in_front = seen.depth > _LEAST_DEPTH * unit
        known = truth.has_point.to(joints.dtype) * self.joint_weights
        per_length = _TENTHS / unit
        means = {
            "keypoints": self._in_pictures(seen.uv, truth, in_front),
            "points": point_loss(joints * per_length, truth.points * per_length, known),
            "root_rotation": rotation_loss(pose.rotations[:, 0], truth.rotations[:, 0], truth.has_pose),
            "rotations": rotation_loss(pose.rotations[:, 1:], truth.rotations[:, 1:], truth.has_pose),
        }
        return joints, seen, means

    def _in_pictures(self, uv: Tensor, truth: Truth, counted: Tensor | None = None) -> Mean:
        """Of joints [B,V,J,2] in pixels; counted: bool [B,V,J], None for all."""
        weights = keypoint_weights(
            truth.keypoints / self.image_size,
            truth.visibility,
            joint_weights=self.joint_weights,
            soft=self.spec.soft_visibility,
        )
        weights = weights if counted is None else torch.where(counted, weights, 0.0)
        share = _TENTHS / self.image_size
        return keypoint_loss(uv * share, truth.keypoints * share, weights, huber=self.spec.huber)

    def _cameras(
        self, estimate: Estimate, truth: Truth, calibrated: Tensor, joints: Tensor
    ) -> dict[str, Mean]:
        (K, R, t), (true_K, true_R, true_t) = estimate.cameras, truth.cameras
        free = truth.has_camera & ~calibrated
        focal, true_focal = (m[..., :2, :2].diagonal(dim1=-2, dim2=-1) for m in (K, true_K))
        ratio = (focal / true_focal.where(free[..., None], focal)).log()
        # In the distance of the animal's middle before the true camera.
        middle = truth.points.sum(1) / truth.has_point.sum(1).clamp(min=1)[:, None]
        distance = ((true_R @ middle[:, None, :, None])[..., 0] + true_t).norm(dim=-1, keepdim=True)
        distance = torch.where(truth.has_point.any(1)[:, None, None] & free[..., None], distance, 1.0)
        return {
            "focal": camera_loss(_TENTHS * ratio, torch.zeros_like(ratio), free),
            "camera_rotation": geodesic_loss(R, true_R, free),
            "camera_translation": camera_loss(_TENTHS * t / distance, _TENTHS * true_t / distance, free),
        }

    def _regularisers(self, pose: BodyPose) -> dict[str, Mean]:
        means = {"joint_angle": joint_angle_loss(pose.rotations[:, 1:])}
        if self.limits is not None:
            means["joint_limit"] = joint_limit_loss(pose.rotations[:, 1:], self.limits[1:])
        if pose.log_scale is not None:
            means["limb_scale"] = square_loss(pose.log_scale)
        if pose.offsets is not None:
            means["limb_offset"] = square_loss(pose.offsets)
        if pose.betas is not None and pose.betas.shape[1]:
            means["shape_prior"] = square_loss(pose.betas)
        return means

    def _triangulated(self, cameras: Cameras, truth: Truth, joints: Tensor, unit: Tensor) -> Mean:
        P = projection_matrix(*cameras)
        weights = torch.where(torch.isfinite(truth.keypoints).all(-1), truth.visibility, 0.0)
        uv = torch.where(weights[..., None] > 0, truth.keypoints, 0.0)
        found = triangulate_differentiable(uv.transpose(1, 2), P[:, None], weights.transpose(1, 2))
        return point_loss(
            found.points * (_TENTHS / unit), joints.detach() * (_TENTHS / unit), found.valid.to(joints.dtype)
        )


#: Terms that every correction of the body has, and those of the last alone.
_OF_JOINTS = ("keypoints", "points", "root_rotation", "rotations")
_TERMS: Sequence[str] = (
    *_OF_JOINTS,
    *("places", "focal", "camera_rotation", "camera_translation", "betas", "triangulation"),
    *("joint_angle", "joint_limit", "limb_scale", "limb_offset", "shape_prior"),
)


def weighted_total(weights: Mapping[str, float], values: Mapping[str, Tensor]) -> Tensor:
    """Sum of weight * value over the terms that there are."""
    return torch.stack([weight * values[name] for name, weight in weights.items() if name in values]).sum()
