"""Predictors that err, around one that does not; and how far a pose is from the truth."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.rotations import rotation_angle_between
from refkp.systems.pose.inference.matches import Prediction
from refkp.systems.pose.inference.predictor import Predictor


class PoseError(NamedTuple):
    """How far a pose is from the truth."""

    angle_deg: float
    distance_mm: float


def pose_error(cam_from_obj: Tensor, true: Tensor) -> PoseError:
    """Angle of the rotation and length of the translation between two poses [4,4]."""
    angle = rotation_angle_between(cam_from_obj[:3, :3], true[:3, :3])
    return PoseError(math.degrees(float(angle)), float((cam_from_obj - true)[:3, 3].norm()))


class WithOutliers:
    """Another predictor whose matches are replaced, with probability `share`, by others of the same weight.

    "pixels": every match on its own points anywhere in the query. "patches": a whole patch has a wrong partner
    and a flow that is shifted as one, as where a model confuses two parts of an object.
    """

    def __init__(self, inner: Predictor, share: float, kind: str, columns: int, seed: int = 0) -> None:
        self.inner, self.share, self.kind, self.columns = inner, share, kind, columns
        self.generator = torch.Generator().manual_seed(seed)

    def logits(self, templates: Tensor) -> Tensor:
        return self.inner.logits(templates)

    def alone(self, templates: Tensor) -> Prediction:
        return self._with_outliers(self.inner.alone(templates))

    def together(self, templates: Tensor) -> Prediction:
        return self._with_outliers(self.inner.together(templates))

    def _with_outliers(self, prediction: Prediction) -> Prediction:
        return self._pixels(prediction) if self.kind == "pixels" else self._patches(prediction)

    def _pixels(self, prediction: Prediction) -> Prediction:
        flow = prediction.flow
        query = torch.arange(flow.shape[1])
        centre = torch.stack((query % self.columns, query // self.columns), dim=-1) + 0.5
        anywhere = self.columns * self._uniform(*flow.shape) - centre[:, None, None]
        wrong = self._uniform(*flow.shape[:-1]) < self.share
        return prediction._replace(flow=torch.where(wrong[..., None], anywhere, flow))

    def _patches(self, prediction: Prediction) -> Prediction:
        templates, patches = prediction.flow.shape[:2]
        wrong = self._uniform(templates, patches) < self.share
        shift = self.columns * (self._uniform(templates, patches, 1, 1, 2) - 0.5)
        flow = prediction.flow + torch.where(wrong[..., None, None, None], shift, 0)
        order = torch.randperm(patches, generator=self.generator)
        seen = wrong & (prediction.logits.argmax(-1) < patches)
        shuffled = torch.cat((prediction.logits[..., order], prediction.logits[..., patches:]), dim=-1)
        return prediction._replace(
            logits=torch.where(seen[..., None], shuffled, prediction.logits), flow=flow
        )

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator)
