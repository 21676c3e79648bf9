"""What is mean in a training set: the rig, the distance of the animal, its size. Networks correct it.

Source: spec multiview f.5 (the field of view from the median of the training set).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.procrustes import align, nearest_rotation
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.data.dataset import MultiviewDataset

_NUM_SAMPLES = 300
_LEAST_JOINTS = 3


class Prior(NamedTuple):
    """C cameras; None where no sample tells."""

    K: Tensor  # [C,4], fx, fy, cx, cy in sides of the picture; NaN for cameras that no sample has
    R: Tensor  # [C,3,3], from the frame of the camera that most samples have; NaN likewise
    depth: Tensor  # [C], of the middle of the animal, metres; NaN likewise
    size: Tensor | None  # metres in a unit of the body
    unit: Tensor | None  # metres, the length of an animal


def training_prior(dataset: MultiviewDataset, body: Body) -> Prior:
    """Medians and mean rotations over evenly spaced samples of a training set."""
    places = torch.linspace(0, len(dataset) - 1, min(len(dataset), _NUM_SAMPLES)).round().long()
    samples = [dataset.described(place) for place in places.tolist()]
    cameras, side = len(dataset.store.info.camera_names), dataset.store.info.size
    K = torch.full((len(samples), cameras, 3, 3), torch.nan)
    R, t = torch.full_like(K, torch.nan), torch.full((len(samples), cameras, 3), torch.nan)
    middle = torch.full((len(samples), 3), torch.nan)
    sizes = []
    for row, sample in enumerate(samples):
        if sample.K is not None and sample.R is not None and sample.t is not None:
            seen = sample.camera_indices
            K[row, seen], R[row, seen], t[row, seen] = sample.K, sample.R, sample.t
        if sample.points is not None:
            middle[row] = sample.points.nanmean(0)
            sizes.append(_size(sample.points, body))
    shares = torch.stack((K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2]), -1) / side
    depth = ((R @ middle[:, None, :, None])[..., 0] + t)[..., 2]
    told = torch.tensor([size for size in sizes if size is not None])
    size = told.nanmedian() if len(told) else None
    return Prior(
        shares.nanmedian(0).values,
        _mean_rotations(R),
        depth.nanmedian(0).values,
        size,
        None if size is None else size * body.length,
    )


def _size(points: Tensor, body: Body) -> float | None:
    """Scale of the similarity that brings the body at rest nearest to points [J,3]."""
    known = torch.isfinite(points).all(-1)
    if int(known.sum()) < _LEAST_JOINTS:
        return None
    target = torch.where(known[:, None], points, 0.0).double()
    return float(align(body.rest_joints.double(), target, known.double()).scale)


def _mean_rotations(R: Tensor) -> Tensor:
    """The rotation nearest to the mean of R_v R_c^T, c the camera that most samples have: [C,3,3]."""
    known = torch.isfinite(R).flatten(2).all(-1)
    common = int(known.sum(0).argmax())
    mean = (R @ R[:, common : common + 1].mT).nanmean(0)
    there = torch.isfinite(mean).flatten(1).all(-1)[:, None, None]
    return nearest_rotation(mean.where(there, torch.eye(3))).where(there, torch.nan)
