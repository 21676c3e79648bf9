"""From the feature of a view to its camera. Source: spec multiview f.5.

A head tells ten numbers of a view: a 6D rotation, where the root of the animal is in the camera as x/z, y/z and the
logarithm of z, and the logarithm of the focal length; the last two against the mean of the training set. The frame of
all is that of the reference view, whose camera is (1, 0) and in which the root then is: so trans is not told by
anything else, and whatever the distance it is within reach.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from refkp.geometry.rotations import rotation_6d_to_matrix
from refkp.nn.mlp import hidden_layers
from refkp.systems.multiview.model.body_head import small_linear
from refkp.systems.multiview.model.spec import CameraHeadSpec

#: Rotation 6, place of the root 3, focal length 1.
OUTPUTS = 10


class RigPrior(nn.Module):
    """The mean rig of the training set, from which heads correct; without one, cameras of 53 degrees at distance 1."""

    K: Tensor  # [C,4], fx, fy, cx, cy in sides of the picture
    R: Tensor  # [C,3,3], from one common frame
    depth: Tensor  # [C], of the root
    size: Tensor  # scalar, unit of the world in one of the body
    unit: Tensor  # scalar, unit of the world in which losses measure: the length of an animal

    def __init__(self, max_cameras: int) -> None:
        super().__init__()
        self.register_buffer("K", torch.tensor([1.0, 1.0, 0.5, 0.5]).repeat(max_cameras, 1))
        self.register_buffer("R", torch.eye(3).repeat(max_cameras, 1, 1))
        self.register_buffer("depth", torch.ones(max_cameras))
        self.register_buffer("size", torch.ones(()))
        self.register_buffer("unit", torch.ones(()))


class ViewCameras(NamedTuple):
    """Cameras of all views in the frame of the reference view, and the root in it."""

    K: Tensor  # [B,V,3,3], pixels of the picture
    R: Tensor  # [B,V,3,3], camera from the frame of the reference view
    t: Tensor  # [B,V,3]
    trans: Tensor  # [B,3], the root


class CameraHead(nn.Module):
    """The heads of a spec."""

    def __init__(self, spec: CameraHeadSpec, dim: int, max_cameras: int) -> None:
        super().__init__()
        self.shared = spec.kind == "shared_with_embedding"
        self.networks = nn.ModuleList(
            nn.Sequential(
                hidden_layers((dim, *spec.hidden)),
                nn.Dropout(spec.dropout),
                small_linear(spec.hidden[-1], OUTPUTS),
            )
            for _ in range(1 if self.shared else max_cameras)
        )

    def forward(self, views: Tensor, camera_indices: Tensor) -> Tensor:
        """Features [B,V,D] and int64 [B,V] -> [B,V,10].

        All heads are asked, so that each has a gradient on every rank; that of a camera nobody shows is 0.
        """
        told = torch.stack([network(views) for network in self.networks], dim=2)
        chosen = torch.zeros_like(camera_indices) if self.shared else camera_indices
        return told.gather(2, chosen[..., None, None].expand(-1, -1, 1, OUTPUTS))[:, :, 0]


def cameras_of(
    told: Tensor,
    prior: RigPrior,
    camera_indices: Tensor,
    reference: Tensor,
    root_rotation: Tensor,
    image_size: int,
    *,
    shared: bool,
) -> ViewCameras:
    """The cameras that heads tell.

    With a head for each camera, its rotation corrects the mean rig, R_v = D_v M_v; a shared head tells how the animal
    is turned in the view, D_v = R_v R_root. Either way only what is left between two views is used.

    Args:
        told: [B,V,10].
        prior: the mean rig.
        camera_indices: int64 [B,V].
        reference: int64 [B], the slot of the reference view.
        root_rotation: [B,3,3], of the root in the frame of the reference view.
        image_size: side of the picture.
        shared: which kind of head told it.
    """
    turned, direction, log_depth, log_focal = told.float().split((6, 2, 1, 1), dim=-1)
    identity = turned.new_tensor([1.0, 0, 0, 0, 1, 0])
    R = rotation_6d_to_matrix(identity + turned)
    R = R @ root_rotation[:, None].mT if shared else R @ prior.R[camera_indices]
    depth = prior.depth[camera_indices][..., None] * log_depth.exp()
    root = torch.cat((direction * depth, depth), dim=-1)  # [B,V,3] in each camera
    first = reference[:, None, None]
    if not shared:
        R = R @ R.gather(1, first[..., None].expand(-1, 1, 3, 3)).mT
    is_reference = (torch.arange(R.shape[1], device=R.device) == reference[:, None])[..., None]
    R = torch.where(is_reference[..., None], torch.eye(3).to(R), R)
    trans = root.gather(1, first.expand(-1, 1, 3))[:, 0]
    t = torch.where(is_reference, 0.0, root - (R @ trans[:, None, :, None])[..., 0])
    return ViewCameras(_intrinsics(prior.K[camera_indices], log_focal, image_size), R, t, trans)


def _intrinsics(shares: Tensor, log_focal: Tensor, image_size: int) -> Tensor:
    """K [B,V,3,3] in pixels of (fx, fy, cx, cy) [B,V,4] in sides of the picture."""
    focal, centre = image_size * shares[..., :2] * log_focal.exp(), image_size * shares[..., 2:]
    last = torch.zeros_like(shares[..., :3])
    last[..., 2] = 1
    return torch.cat((torch.cat((focal.diag_embed(), centre[..., None]), -1), last[..., None, :]), -2)
