"""Labels that a fit does not see, and how far from them it lies: beside plain triangulation of the same labels."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.multiview.fitting.fit import BodyFit, mapped
from refkp.systems.multiview.reconstruction import calibrated, reconstruct
from refkp.systems.multiview.session import Recording


class HeldOut(NamedTuple):
    """Distances of labels that were left out."""

    method: str
    number: int
    mean_px: float
    median_px: float
    missed: int  # labels of points that the method does not find; in no other number


def without_some(recording: Recording, share: float, seed: int = 0) -> Recording:
    """A recording without a share of its labels.

    Raises:
        ValueError: the share is not in [0,1).
    """
    if not 0 <= share < 1:
        fail("without_some", "held_out", "in [0,1)", share)
    rng = np.random.default_rng(seed)
    views = []
    for view in recording.views:
        left_out = rng.random(view.labels.visible.shape) < share
        xy = np.where(left_out[..., None], np.nan, view.labels.xy)
        views.append(replace(view, labels=view.labels._replace(xy=xy)))
    return replace(recording, views=tuple(views))


def judge(
    recording: Recording, seen: Recording, found: BodyFit, joint_map: Tensor, track: str | None
) -> list[HeldOut]:
    """How far the labels that were left out are from the fitted body, and from points triangulated without them.

    Args:
        recording: with all its labels.
        seen: what the fit saw of it.
        found: the fit.
        joint_map: of the fit.
        track: which animal.
    """
    whole = calibrated(recording, track)[1]
    frames = found.motion.frames.numpy()
    inside = np.isin(whole.frames, frames)
    rows = torch.from_numpy(np.searchsorted(frames, whole.frames[inside]))
    target = mapped(torch.from_numpy(whole.xy[inside]), joint_map)
    left_out = torch.isfinite(target).all(-1) & ~torch.isfinite(found.uv[rows]).all(-1)
    plain = reconstruct(seen, track)
    points = mapped(torch.from_numpy(plain.points), joint_map)[rows]
    rows_of = {"fitted body": found.joints[rows], "triangulated": points}
    return [_distances(name, at, found, target, left_out) for name, at in rows_of.items()]


def _distances(name: str, points: Tensor, found: BodyFit, target: Tensor, left_out: Tensor) -> HeldOut:
    rig = found.calibration.rig.to(torch.float64)
    uv = rig.project(points).uv.permute(0, 2, 1, 3)
    distance = torch.linalg.vector_norm(uv - target, dim=-1)[left_out]
    known = distance[distance.isfinite()]
    mean, median = (float(known.mean()), float(known.median())) if len(known) else (float("nan"),) * 2
    return HeldOut(name, len(known), mean, median, len(distance) - len(known))
