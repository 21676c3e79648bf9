"""Reprojection errors, view by view."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp.geometry.rig import Rig
from refkp.systems.multiview.session import Observations, SpacePoints

#: Which bounds the memory for long recordings, and changes no number.
FRAMES_AT_A_TIME = 120


class ViewErrors(NamedTuple):
    """Distances in pixels between the labels of a view and where its camera sees the points."""

    view: str
    num_points: int
    mean: float
    median: float
    p95: float
    without_distortion: float  # mean


def reprojection_errors(
    names: tuple[str, ...], seen: Observations, points: np.ndarray, rig: Rig
) -> list[ViewErrors]:
    """The errors of points [F,J,3] in every view that has labels of them; NaN where it has none."""
    errors = view_distances(seen, points, rig)
    ideal = view_distances(seen, points, rig.pinholes())
    rows = []
    for index, name in enumerate(names):
        known = np.isfinite(errors[:, index])
        of_view, plain = errors[:, index][known], ideal[:, index][known]
        numbers = (
            (
                float(of_view.mean()),
                float(np.median(of_view)),
                float(np.percentile(of_view, 95)),
                float(plain.mean()),
            )
            if known.any()
            else (float("nan"),) * 4
        )
        rows.append(ViewErrors(name, int(known.sum()), *numbers))
    return rows


def view_distances(seen: Observations, points: np.ndarray, rig: Rig) -> np.ndarray:
    """Distances [F,V,J] in pixels of the labels from the projected points [F,J,3]; NaN where either is missing."""
    parts: tuple[Tensor, ...] = torch.from_numpy(points).split(FRAMES_AT_A_TIME)
    uv = torch.cat([rig.project(part).uv for part in parts])
    return np.linalg.norm(uv.permute(0, 2, 1, 3).numpy() - seen.xy, axis=-1)


def at_frames(points: SpacePoints, frames: np.ndarray, animal: int) -> np.ndarray:
    """The points of a file [F,J,3] at frame numbers [F]; NaN where it has none."""
    rows = frames - points.first_frame
    there = (rows >= 0) & (rows < len(points.xyz))
    result = np.full((len(frames), *points.xyz.shape[2:]), np.nan)
    result[there] = points.xyz[rows[there], min(animal, points.xyz.shape[1] - 1)]
    return result
