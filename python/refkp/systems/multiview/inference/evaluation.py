"""Held-out numbers of a model and of what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.cameras import OpenCVCamera, project
from refkp.systems.multiview.batch import MultiviewBatch
from refkp.systems.multiview.inference.predictor import Predictor
from refkp.systems.multiview.losses.truth import truth_of
from refkp.systems.multiview.metrics.cameras import camera_errors
from refkp.systems.multiview.metrics.points import aligned_errors, point_errors, share_correct, summarise

_MM = 1000.0
#: Shares of the picture's side within which a joint counts as found.
PCK_SHARES = (0.02, 0.05, 0.1)


class Judged(NamedTuple):
    """One predictor; NaN where it says nothing."""

    name: str
    mpjpe_mm: float
    pa_mpjpe_mm: float
    joint_mpjpe_mm: tuple[float, ...]  # J
    error_px: float  # of the joints through its own cameras, mean
    pck: tuple[float, ...]  # at PCK_SHARES
    camera_deg: float
    camera_centre_mm: float


def evaluate(
    batches: Iterable[MultiviewBatch], predictors: Mapping[str, Predictor], image_size: int
) -> list[Judged]:
    """Errors of all predictors over the same batches.

    Args:
        batches: of held-out samples.
        predictors: by the name that tables show.
        image_size: side of the pictures.
    """
    found: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in predictors}
    for batch in batches:
        truth = truth_of(batch)
        for name, predictor in predictors.items():
            joints, cameras = predictor(batch, truth)
            known = (joints, truth.points, truth.has_point)
            pixels = torch.full_like(truth.visibility, torch.nan).double()
            turned = centre = torch.full_like(truth.visibility[..., 0], torch.nan).double()
            if cameras is not None:
                uv = project(joints[:, None], *cameras).uv
                pixels = point_errors(uv, truth.keypoints, truth.visibility > 0)
                off = camera_errors(OpenCVCamera(*cameras), OpenCVCamera(*truth.cameras))
                free = truth.has_camera & (truth.cameras.t.abs().sum(-1) > 0)
                turned, centre = (
                    torch.where(free, part, torch.nan) for part in (off.rotation_deg, off.centre)
                )
            in_space = _MM * point_errors(*known), _MM * aligned_errors(*known)
            found[name].append((*in_space, pixels, turned, _MM * centre))
    return [_judged(name, rows, image_size) for name, rows in found.items()]


def _judged(name: str, rows: list[tuple[Tensor, ...]], image_size: int) -> Judged:
    space, aligned = (torch.cat([row[part] for row in rows]) for part in (0, 1))
    pixels, turned, centre = (torch.cat([row[part].flatten() for row in rows]) for part in (2, 3, 4))
    shares = torch.tensor(PCK_SHARES, dtype=torch.float64) * image_size
    return Judged(
        name,
        summarise(space).mean,
        summarise(aligned).mean,
        tuple(summarise(joint).mean for joint in space.unbind(-1)),
        summarise(pixels).mean,
        tuple(share_correct(pixels, shares).tolist()),
        summarise(turned).mean,
        summarise(centre).mean,
    )


def mean_joints(batches: Iterable[MultiviewBatch]) -> Tensor:
    """The mean place of each joint in the frames of the reference views, [J,3] metres."""
    total: Tensor | None = None
    count: Tensor | None = None
    for batch in batches:
        truth = truth_of(batch)
        known = truth.has_point[..., None]
        sums, counts = torch.where(known, truth.points, 0.0).sum(0), known.sum(0)
        total, count = (sums, counts) if total is None or count is None else (total + sums, count + counts)
    if total is None or count is None:
        raise ValueError("mean_joints: `batches` must not be empty.")
    return total / count.clamp(min=1)
