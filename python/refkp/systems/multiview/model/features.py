"""From pictures to the features of their views: tokens, where each joint seems to be, and one feature of each view.

Tokens know their place in the picture, the camera that saw them, whether theirs is the reference view, and the
camera's calibration where it is given. Each joint is sought among the tokens of a picture: the feature of a view is
made of the mean places that are found, and of what stands there. The layout of a picture keeps a little of every
token in its place: how a camera is turned shows in what stands still. Source: spec multiview f.1 and f.2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from refkp.nn.encoders import VisionEncoder
from refkp.nn.pixels import unit_range
from refkp.systems.multiview.model.spec import MultiviewSpec

#: Numbers of a calibration: a 6D rotation, a translation, the logarithms of the focal lengths and the principal point.
CALIBRATION = 13
#: Numbers that are read of the tokens where a joint is.
_OF_JOINT = 16
#: Numbers of each token in the layout of a picture.
_OF_TOKEN = 8
_STD = 0.02


class ViewFeatures(NamedTuple):
    """What is read of the pictures of B instants; 0 for views that are not there, but for their layouts."""

    tokens: Tensor  # [B,V,P,D]
    views: Tensor  # [B,V,D]
    layouts: Tensor  # [B,V,L]
    places: Tensor  # [B,V,J,2], of the joints, in sides of the picture


class ViewEncoder(nn.Module):
    """Pictures of all views to their features."""

    centres: Tensor  # [P,2] of the tokens, in sides of the picture

    def __init__(self, spec: MultiviewSpec, num_joints: int) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = VisionEncoder(spec.encoder)
        dim, (rows, columns) = self.encoder.dim, self.encoder.grid
        self.dim = dim
        self.place = nn.Parameter(torch.randn(rows * columns, dim) * _STD)
        self.camera = nn.Embedding(spec.max_cameras, dim)
        self.reference = nn.Parameter(torch.randn(dim) * _STD)
        self.calibration = nn.Sequential(nn.Linear(CALIBRATION, dim), nn.GELU(), nn.Linear(dim, dim))
        self.uncalibrated = nn.Parameter(torch.randn(dim) * _STD)
        self.sought = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_joints))
        self.norm = nn.LayerNorm(dim)
        self.of_joint = nn.Linear(dim, _OF_JOINT)
        gathered = num_joints * (_OF_JOINT + 2)
        self.gathered = nn.Sequential(
            nn.LayerNorm(gathered), nn.Linear(gathered, dim), nn.GELU(), nn.Linear(dim, dim)
        )
        self.of_token = nn.Linear(dim, _OF_TOKEN)
        self.layout_size = rows * columns * _OF_TOKEN
        y, x = ((torch.arange(count) + 0.5) / count for count in (rows, columns))
        self.register_buffer("centres", torch.cartesian_prod(y, x).flip(-1), persistent=False)
        nn.init.normal_(self.camera.weight, std=_STD)

    def forward(
        self,
        images: Tensor,
        view_mask: Tensor,
        camera_indices: Tensor,
        reference: Tensor,
        calibration: Tensor,
        calibrated: Tensor,
    ) -> ViewFeatures:
        """Features of the views.

        Args:
            images: [B,V,3,S,S], bytes or in [0,1].
            view_mask: bool [B,V].
            camera_indices: int64 [B,V], below `max_cameras`.
            reference: int64 [B], slot of the reference view.
            calibration: [B,V,13]; may be anything where it is not given.
            calibrated: bool [B,V], where it is given.
        """
        there = view_mask[..., None]
        tokens = self._encoded(images)
        shares = self.sought(tokens).mT.softmax(-1)  # [B,V,J,P]
        places = (shares.float()[..., None] * self.centres).sum(-2)  # no matrix product: in float32 under AMP
        known = self.calibration(torch.where(calibrated[..., None], calibration, 0.0))
        of_view = self.camera(camera_indices) + torch.where(calibrated[..., None], known, self.uncalibrated)
        is_reference = torch.arange(images.shape[1], device=images.device) == reference[:, None]
        of_view = of_view + torch.where(is_reference[..., None], self.reference, 0.0)
        tokens = self.norm(tokens + self.place + of_view[:, :, None]).where(there[..., None], 0.0)
        found = torch.cat((self.of_joint(shares @ tokens), 4 * places - 2), dim=-1)
        views = self.gathered(found.flatten(2)) + of_view
        layouts = self.of_token(tokens).flatten(2)
        return ViewFeatures(tokens, views.where(there, 0.0), layouts, places.where(there[..., None], 0.0))

    def _encoded(self, images: Tensor) -> Tensor:
        """Tokens [B,V,P,D], some pictures at a time."""
        pictures = unit_range(images).flatten(0, 1)[:, None]
        parts = pictures.split(self.spec.chunk_size or max(1, len(pictures)))
        if self.spec.recompute and torch.is_grad_enabled():
            tokens = [checkpoint(self.encoder, part, use_reentrant=False) for part in parts]
        else:
            tokens = [self.encoder(part) for part in parts]
        return torch.cat(tokens)[:, 0].unflatten(0, images.shape[:2])
