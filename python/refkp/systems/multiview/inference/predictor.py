"""Who estimates a body and cameras from a batch: the model, and what a judged model has to be better than."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from refkp.geometry.cameras import projection_matrix
from refkp.geometry.triangulation import triangulate_dlt
from refkp.systems.multiview.batch import MultiviewBatch
from refkp.systems.multiview.body.posing import JointsOnly
from refkp.systems.multiview.losses.truth import Truth
from refkp.systems.multiview.model.network import Cameras, MultiviewModel, reference_slot


class Prediction(NamedTuple):
    """Joints and cameras in the frame of the reference view."""

    joints: Tensor  # [B,J,3] metres; NaN where nothing is said
    cameras: Cameras | None  # None: nothing is said of them; the true ones show the joints


class Predictor(Protocol):
    """Estimates a batch. What it may look at beside the pictures is said by its name."""

    def __call__(self, batch: MultiviewBatch, truth: Truth) -> Prediction:
        """The estimate; `truth` is what a baseline, or the calibrated mode, is allowed to know."""


class ModelPredictor:
    """The model: pictures alone, or with the cameras given.

    Args:
        model: trained, in evaluation mode.
        calibrated: give it the cameras.
        exchanged: show each sample the pictures of another, to see what it says without looking.
    """

    def __init__(self, model: MultiviewModel, *, calibrated: bool = False, exchanged: bool = False) -> None:
        self.model, self.calibrated, self.exchanged = model, calibrated, exchanged
        self.joints_of = JointsOnly(model.body)

    @torch.no_grad()
    def __call__(self, batch: MultiviewBatch, truth: Truth) -> Prediction:
        """The estimate of the model."""
        images = batch.images.roll(1, 0) if self.exchanged else batch.images
        given = (truth.cameras, truth.has_camera) if self.calibrated else ()
        estimate = self.model(images, batch.view_mask, batch.camera_indices, *given)
        return Prediction(self.joints_of(estimate.pose), estimate.cameras)


class RestPredictor:
    """The body at rest at the mean distance, and the mean rig of the training set: the model before its last layers."""

    def __init__(self, model: MultiviewModel) -> None:
        self.model, self.joints_of = model, JointsOnly(model.body)

    @torch.no_grad()
    def __call__(self, batch: MultiviewBatch, truth: Truth) -> Prediction:
        """The same for all samples that show the same cameras."""
        estimate = self.model.at_rest(batch.view_mask, batch.camera_indices)
        return Prediction(self.joints_of(estimate.pose), estimate.cameras)


class ConstantPredictor:
    """One place for each joint: the mean of those that are judged, which no constant can be better than.

    Args:
        joints: [J,3] metres, in the frame of the reference view.
    """

    def __init__(self, joints: Tensor) -> None:
        self.joints = joints

    def __call__(self, batch: MultiviewBatch, truth: Truth) -> Prediction:
        """The same for all samples."""
        return Prediction(self.joints.expand(len(batch.view_mask), -1, -1), None)


class SpacePredictor:
    """Points in space that were found otherwise: a fitted body, or what somebody triangulated.

    Args:
        xyz: float64 [F,J,3], metres, in the world of the cameras; NaN where missing.
        first_frame: number of the video frame of the first row.
    """

    def __init__(self, xyz: Tensor, first_frame: int) -> None:
        self.xyz, self.first_frame = xyz, first_frame

    def __call__(self, batch: MultiviewBatch, truth: Truth) -> Prediction:
        """The points of the frames of a batch, in the frame of the reference view."""
        rows = torch.tensor(batch.frames) - self.first_frame
        there = (rows >= 0) & (rows < len(self.xyz))
        points = torch.where(there[:, None, None], self.xyz[rows.clamp(0, len(self.xyz) - 1)], torch.nan)
        if batch.R is None or batch.t is None:
            return Prediction(torch.full_like(points, torch.nan).float(), None)
        reference = reference_slot(batch.camera_indices, batch.view_mask)
        item = torch.arange(len(reference))
        R, t = batch.R[item, reference].double(), batch.t[item, reference].double()
        return Prediction((points @ R.mT + t[:, None]).float(), None)


class TriangulationPredictor:
    """Labels of all views triangulated with the true cameras: what is known without a model where there are labels."""

    def __call__(self, batch: MultiviewBatch, truth: Truth) -> Prediction:
        """Joints that two views with a camera see."""
        seen = (truth.visibility > 0) & truth.has_camera[..., None]
        uv = torch.where(seen[..., None], truth.keypoints, torch.nan).transpose(1, 2).double()
        P = projection_matrix(*(part.double() for part in truth.cameras))
        points = triangulate_dlt(uv, P[:, None].expand(-1, uv.shape[1], -1, -1, -1)).points
        return Prediction(points.float(), None)
