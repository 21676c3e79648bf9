"""The whole model: views of an instant to one body and a camera for each view. Source: spec multiview f."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_shape
from refkp.geometry.rotations import matrix_to_rotation_6d, rotation_6d_to_matrix
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose
from refkp.systems.multiview.model.body_head import DecoderBodyHead, MlpBodyHead
from refkp.systems.multiview.model.cameras import OUTPUTS, CameraHead, RigPrior, cameras_of
from refkp.systems.multiview.model.features import CALIBRATION, ViewEncoder
from refkp.systems.multiview.model.fusion import Fusion
from refkp.systems.multiview.model.spec import MultiviewSpec
from refkp.systems.multiview.model.state import BodyState, num_limb_values, pose_of, rest_state


class Cameras(NamedTuple):
    """Cameras of the views in the frame of the reference view, whose own is (1, 0)."""

    K: Tensor  # [B,V,3,3], pixels of the S x S picture
    R: Tensor  # [B,V,3,3], camera from the frame of the reference view
    t: Tensor  # [B,V,3]


class Estimate(NamedTuple):
    """One body and a camera for each view, in the frame of the reference view."""

    pose: BodyPose
    cameras: Cameras  # the given ones where they were given
    history: tuple[BodyPose, ...]  # after each correction but the last
    places: Tensor | None = None  # [B,V,J,2], where each picture by itself seems to show the joints, pixels


class MultiviewModel(nn.Module):
    """Views to a body and cameras.

    The reference view of a sample is that of the lowest camera index which is there: the order of the slots, and what
    stands in slots that pad, changes nothing.

    Args:
        spec: the networks.
        body: what is posed; its tensors are not among the parameters.
    """

    def __init__(self, spec: MultiviewSpec, body: Body) -> None:
        super().__init__()
        self.spec, self.body = spec, body
        num_limb_values(body, spec.body.limbs)
        self.prior = RigPrior(spec.max_cameras)
        self.features = ViewEncoder(spec, body.num_joints)
        dim = self.features.dim
        self.fusion = Fusion(spec.fusion, dim, spec.max_cameras)
        head = DecoderBodyHead if spec.body.kind == "transformer_decoder" else MlpBodyHead
        self.body_head = head(spec.body, body, dim)
        self.camera_head = CameraHead(spec.camera, dim + self.features.layout_size, spec.max_cameras)

    def set_prior(
        self, K: Tensor, R: Tensor, depth: Tensor, size: Tensor | None, unit: Tensor | None
    ) -> None:
        """Begin from the mean rig of a training set, [C,4], [C,3,3], [C] as of `RigPrior`; what is NaN or None stays.

        Raises:
            ValueError: more cameras than the spec has.
        """
        if len(K) > self.spec.max_cameras:
            rule = f"of at most max_cameras = {self.spec.max_cameras}"
            fail("MultiviewModel", "prior", rule, len(K), "Raise `max_cameras`.")
        for name, told in (("K", K), ("R", R), ("depth", depth)):
            mine = getattr(self.prior, name)[: len(K)]
            mine.copy_(torch.where(torch.isfinite(told), told, mine.cpu()))
        for name, scalar in (("size", size), ("unit", unit)):
            if scalar is not None:
                getattr(self.prior, name).copy_(scalar)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MultiviewModel:
        """The body goes along to another device; it stays in float32."""
        super()._apply(fn, recurse)
        self.body = self.body.to(self.prior.size.device)
        return self

    def forward(
        self,
        images: Tensor,
        view_mask: Tensor,
        camera_indices: Tensor,
        given: Cameras | None = None,
        calibrated: Tensor | None = None,
    ) -> Estimate:
        """Estimate bodies and cameras.

        Args:
            images: [B,V,3,S,S], bytes or in [0,1].
            view_mask: bool [B,V].
            camera_indices: int64 [B,V]; anything in slots that pad.
            given: cameras that are known, in the frame of the reference view; None: none.
            calibrated: bool [B,V], for which views they are; None: all of `given`.

        Raises:
            ValueError: shapes that do not fit, or a camera index that is too large for the spec.
        """
        size = self.spec.encoder.image_size
        count, slots = view_mask.shape
        require_shape("MultiviewModel", "images", images, "B,V,3,S,S", B=count, V=slots, S=size)
        camera_indices = self._checked(camera_indices, view_mask)
        reference = reference_slot(camera_indices, view_mask)
        if given is None:
            calibrated = torch.zeros_like(view_mask)
        else:
            calibrated = view_mask if calibrated is None else calibrated & view_mask
        calibration = self._calibration(given, calibrated, images)
        tokens, views, layouts, places = self.features(
            images, view_mask, camera_indices, reference, calibration, calibrated
        )
        views = self.fusion(views, view_mask, camera_indices)
        keys = view_mask[..., None].expand(-1, -1, tokens.shape[2] + 1).flatten(1)
        context = torch.cat((tokens, views[:, :, None]), dim=2).flatten(1, 2)
        states = self.body_head(context, keys, views, view_mask)
        told = self.camera_head(torch.cat((views, layouts), -1), camera_indices)
        with torch.autocast(images.device.type, enabled=False):
            found = self._estimate(states, told, camera_indices, reference, given, calibrated)
            return found._replace(places=size * places.float())

    def at_rest(self, view_mask: Tensor, camera_indices: Tensor) -> Estimate:
        """The body at rest and the mean rig: what is estimated where the last layers say nothing."""
        camera_indices = self._checked(camera_indices, view_mask)
        reference = reference_slot(camera_indices, view_mask)
        told = torch.zeros(*view_mask.shape, OUTPUTS, device=view_mask.device)
        state = rest_state(self.body, self.spec.body.limbs, told[:, 0])
        nobody = torch.zeros_like(view_mask)
        return self._estimate([state], told, camera_indices, reference, None, nobody)

    def _estimate(
        self,
        states: list[BodyState],
        told: Tensor,
        camera_indices: Tensor,
        reference: Tensor,
        given: Cameras | None,
        calibrated: Tensor,
    ) -> Estimate:
        states = [BodyState(*(part.float() for part in state)) for state in states]
        root = rotation_6d_to_matrix(states[-1].pose[:, 0])
        shared, size = self.camera_head.shared, self.spec.encoder.image_size
        *read, trans = cameras_of(told, self.prior, camera_indices, reference, root, size, shared=shared)
        if given is not None:
            read = [
                torch.where(calibrated.view(*calibrated.shape, *[1] * (own.dim() - 2)), known, own)
                for known, own in zip(given, read, strict=True)
            ]
        poses = [pose_of(state, self.body, self.spec.body.limbs, trans, self.prior.size) for state in states]
        return Estimate(poses[-1], Cameras(*read), tuple(poses[:-1]))

    def _checked(self, camera_indices: Tensor, view_mask: Tensor) -> Tensor:
        """Indices with 0 in slots that pad."""
        indices = torch.where(view_mask, camera_indices, 0)
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < self.spec.max_cameras:
            rule = f"below max_cameras = {self.spec.max_cameras}"
            fail("MultiviewModel", "camera_indices", rule, int(indices.max()), "Raise `max_cameras`.")
        return indices

    def _calibration(self, given: Cameras | None, calibrated: Tensor, images: Tensor) -> Tensor:
        """The numbers by which features know a calibration, [B,V,13] float32."""
        if given is None:
            return torch.zeros(*calibrated.shape, CALIBRATION, device=images.device)
        identity = torch.eye(3, device=images.device)
        K = torch.where(calibrated[..., None, None], given.K, identity) / self.spec.encoder.image_size
        R = torch.where(calibrated[..., None, None], given.R, identity)
        focal = K[..., :2, :2].diagonal(dim1=-2, dim2=-1).clamp(min=1e-6).log()
        parts = (
            matrix_to_rotation_6d(R),
            R.mT @ given.t[..., None] / self.prior.depth.mean(),
            focal,
            K[..., :2, 2] - 0.5,
        )
        return torch.cat([part.flatten(2) for part in parts], dim=-1).float()


def reference_slot(camera_indices: Tensor, view_mask: Tensor) -> Tensor:
    """The slot of the view with the lowest camera index, int64 [B]; 0 for a sample without views."""
    beyond = torch.iinfo(camera_indices.dtype).max
    return torch.where(view_mask, camera_indices, beyond).argmin(1)
