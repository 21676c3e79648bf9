"""What is known of a batch, in the frame in which a model estimates: that of the reference view of each sample."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.canonical_frame import canonical_frame
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.batch import MultiviewBatch
from refkp.systems.multiview.model.network import Cameras, reference_slot


class Truth(NamedTuple):
    """Labels of B samples in V views; what is not known may be anything, finite."""

    keypoints: Tensor  # [B,V,J,2] pixels
    visibility: Tensor  # [B,V,J]; 0: does not count
    cameras: Cameras  # of the views, in the frame of the reference view
    has_camera: Tensor  # bool [B,V], the reference view has one too
    points: Tensor  # [B,J,3], metres
    has_point: Tensor  # bool [B,J]
    rotations: Tensor  # [B,J,3,3]
    trans: Tensor  # [B,3], metres
    has_pose: Tensor  # bool [B]
    betas: Tensor | None  # [B,nb]
    has_betas: Tensor  # bool [B]

    @property
    def is_estimated(self) -> Tensor:
        """bool [B,V]: known cameras that a model tells; that of the reference view, (1, 0), is none."""
        return self.has_camera & (self.cameras.t.abs().sum(-1) > 0)


def truth_of(batch: MultiviewBatch) -> Truth:
    """The labels of a batch in the frames of its reference views."""
    mask, joints = batch.view_mask, batch.visibility.shape[-1]
    count, slots = mask.shape
    reference = reference_slot(batch.camera_indices, mask)
    has_camera = batch.known.cameras & mask
    has_camera = has_camera & has_camera.gather(1, reference[:, None])
    identity = torch.eye(3, device=mask.device)
    K = _known(batch.K, has_camera, identity.expand(count, slots, 3, 3))
    R = _known(batch.R, has_camera, identity.expand(count, slots, 3, 3))
    t = _known(batch.t, has_camera, torch.zeros(count, slots, 3, device=mask.device))
    framed = has_camera.any(1)
    has_point = batch.known.points & framed[:, None]
    points = _known(batch.points, has_point, torch.zeros(count, joints, 3, device=mask.device))
    has_pose = batch.known.pose & framed
    trans = _known(batch.trans, has_pose, torch.zeros(count, 3, device=mask.device))
    moved = canonical_frame(R, t, torch.cat((points, trans[:, None]), 1), anchor=reference)
    zeros = torch.zeros(count, joints, 3, device=mask.device)
    turned = axis_angle_to_matrix(_known(batch.joint_rot, has_pose, zeros))
    root = axis_angle_to_matrix(_known(batch.global_rot, has_pose, zeros[:, 0]))
    root = R.gather(1, reference[:, None, None, None].expand(-1, 1, 3, 3)) @ root[:, None]
    has_betas = batch.known.betas
    return Truth(
        batch.keypoints,
        torch.where(mask[..., None], batch.visibility, 0.0),
        Cameras(K, moved.R, moved.t),
        has_camera,
        moved.points[:, :-1],
        has_point,
        torch.cat((root, turned[:, 1:]), dim=1),
        moved.points[:, -1],
        has_pose,
        None if batch.betas is None else _known(batch.betas, has_betas, torch.zeros_like(batch.betas)),
        has_betas,
    )


def _known(values: Tensor | None, known: Tensor, default: Tensor) -> Tensor:
    """The values where they are known."""
    if values is None:
        return default
    return torch.where(known.view(*known.shape, *[1] * (values.dim() - known.dim())), values, default)
