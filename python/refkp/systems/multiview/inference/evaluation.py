"""Held-out numbers of a model and of what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.affine import invert_affine
from refkp.geometry.cameras import OpenCVCamera, project
from refkp.systems.multiview.batch import MultiviewBatch
from refkp.systems.multiview.crops import crop_points
from refkp.systems.multiview.data.collation import collate
from refkp.systems.multiview.data.dataset import MultiviewDataset
from refkp.systems.multiview.inference.predictor import Prediction, Predictor
from refkp.systems.multiview.losses.truth import Truth, truth_of
from refkp.systems.multiview.metrics.cameras import camera_errors
from refkp.systems.multiview.metrics.points import (
    PCK_SHARE,
    PIXEL_THRESHOLDS,
    aligned_errors,
    point_errors,
    share_correct,
    summarise,
    summarise_along,
)

_MM = 1000.0


class Errors(NamedTuple):
    """Of B samples, float64; NaN where there is no truth, infinite where nothing is said."""

    space_mm: Tensor  # [B,J]
    aligned_mm: Tensor  # [B,J]
    pixels: Tensor  # [B,C,J], of the stored picture, by camera
    native: Tensor  # [B,C,J], of the raw one, NaN where the crop is not known
    turned_deg: Tensor  # [B,C], of the cameras that were estimated
    centre_mm: Tensor  # [B,C]
    focal_percent: Tensor  # [B,C]


class Judged(NamedTuple):
    """One predictor; NaN where it says nothing. Pixels are of the joints through its cameras, or the true ones."""

    name: str
    mpjpe_mm: float
    pa_mpjpe_mm: float
    joint_mpjpe_mm: tuple[float, ...]  # J
    error_px: float  # mean, of the stored picture
    median_px: float
    native_px: float  # mean, of the raw picture
    view_median_px: tuple[float, ...]  # C cameras
    joint_median_px: tuple[float, ...]  # J
    pck: float  # at PCK_SHARE of the picture's side
    pck_px: tuple[float, ...]  # at PIXEL_THRESHOLDS of the stored picture
    pck_native_px: tuple[float, ...]  # of the raw one
    camera_deg: float
    camera_centre_mm: float
    focal_percent: float


def evaluate(
    batches: Iterable[MultiviewBatch],
    predictors: Mapping[str, Predictor],
    image_size: int,
    num_cameras: int,
) -> list[Judged]:
    """Errors of all predictors over the same batches, of which none is kept.

    Args:
        batches: of held-out samples.
        predictors: by the name that tables show.
        image_size: side of the pictures.
        num_cameras: of the data.
    """
    found: dict[str, list[Errors]] = {name: [] for name in predictors}
    for batch in batches:
        truth = truth_of(batch)
        for name, predictor in predictors.items():
            found[name].append(errors_of(predictor(batch, truth), batch, truth, num_cameras))
    return [
        _judged(name, Errors(*map(torch.cat, zip(*rows, strict=True))), image_size)
        for name, rows in found.items()
    ]


def errors_of(prediction: Prediction, batch: MultiviewBatch, truth: Truth, num_cameras: int) -> Errors:
    """How far an estimate is from the truth."""
    joints, cameras = prediction
    known = (joints, truth.points, truth.has_point)
    through = truth.cameras if cameras is None else cameras
    seen = truth.visibility > 0
    if cameras is None:
        seen = seen & truth.has_camera[..., None]
    uv = project(joints[:, None], *through).uv
    pixels = point_errors(uv, truth.keypoints, seen)
    native = torch.full_like(pixels, torch.nan)
    if batch.crop_affine is not None:
        back = invert_affine(torch.where(batch.known.crop_affine[..., None, None], batch.crop_affine, _SAME))
        native = point_errors(
            crop_points(back, uv),
            crop_points(back, truth.keypoints),
            seen & batch.known.crop_affine[..., None],
        )
    off = camera_errors(OpenCVCamera(*through), OpenCVCamera(*truth.cameras))
    told = truth.is_estimated & (cameras is not None)
    turned, centre, focal = (torch.where(told, part, torch.nan) for part in off)
    by_camera = (
        _by_camera(part, batch.camera_indices, batch.view_mask, num_cameras)
        for part in (pixels, native, turned, _MM * centre, focal)
    )
    return Errors(_MM * point_errors(*known), _MM * aligned_errors(*known), *by_camera)


_SAME = torch.eye(2, 3)


def _by_camera(values: Tensor, indices: Tensor, view_mask: Tensor, count: int) -> Tensor:
    """Values [B,V,...] of slots at their cameras, [B,C,...]; NaN at those that are not shown."""
    result = values.new_full((len(values), count, *values.shape[2:]), torch.nan)
    rows, slots = view_mask.nonzero(as_tuple=True)
    result[rows, indices[rows, slots]] = values[rows, slots]
    return result


def _judged(name: str, errors: Errors, image_size: int) -> Judged:
    space, pixels = summarise(errors.space_mm), summarise(errors.pixels)
    thresholds = torch.tensor(PIXEL_THRESHOLDS, dtype=torch.float64)
    share = torch.tensor([PCK_SHARE * image_size], dtype=torch.float64)
    return Judged(
        name,
        space.mean,
        summarise(errors.aligned_mm).mean,
        tuple(joint.mean for joint in summarise_along(errors.space_mm, -1)),
        pixels.mean,
        pixels.median,
        summarise(errors.native).mean,
        tuple(view.median for view in summarise_along(errors.pixels, 1)),
        tuple(joint.median for joint in summarise_along(errors.pixels, -1)),
        float(share_correct(errors.pixels, share)),
        tuple(share_correct(errors.pixels, thresholds).tolist()),
        tuple(share_correct(errors.native, thresholds).tolist()),
        summarise(errors.turned_deg).mean,
        summarise(errors.centre_mm).mean,
        summarise(errors.focal_percent).mean,
    )


def mean_joints(dataset: MultiviewDataset) -> Tensor:
    """The mean place of each joint in the frames of the reference views, [J,3] metres; no picture is read."""
    total, count = torch.zeros(()), torch.zeros(())
    for place in range(len(dataset)):
        truth = truth_of(collate([dataset.described(place)]))
        known = truth.has_point[0, :, None]
        total, count = total + torch.where(known, truth.points[0], 0.0), count + known
    return total / count.clamp(min=1)
