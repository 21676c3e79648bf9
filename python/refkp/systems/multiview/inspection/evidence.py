"""How well views and cameras agree: the error that is left when all views triangulate together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp.geometry.rig import Rig
from refkp.geometry.triangulation import triangulate_differentiable
from refkp.systems.multiview.session import Observations

#: Frames that are looked at, evenly over the recording.
_NUM_FRAMES = 200

#: Fewer points say nothing.
MIN_POINTS = 20

_DAMPING = 1e-12  # of parallel rays alone


class Evidence(NamedTuple):
    """Labels and the cameras that are believed of them. Other beliefs are other evidence."""

    frames: np.ndarray  # int64 [F], all there are
    xy: Tensor  # float64 [F,V,J,2] pixels; NaN where missing
    chosen: np.ndarray  # int64 [f], numbers of the frames that are looked at
    late: tuple[int, ...]  # by how many frames each view is believed to be late
    rig: Rig  # float64
    sizes: Tensor  # [V,2]

    @property
    def num_views(self) -> int:
        return len(self.late)

    def thinned(self, step: int) -> Evidence:
        """Every so many of the chosen frames, for a first look."""
        return self._replace(chosen=self.chosen[::step])

    def without(self, view: int) -> Evidence:
        """As if the view had no label."""
        xy = self.xy.clone()
        xy[:, view] = torch.nan
        return self._replace(xy=xy)

    def labels(self) -> Tensor:
        """What the views saw at the chosen instants: [n,V,2] with n = fJ."""
        views = []
        for view, late in enumerate(self.late):
            rows = np.searchsorted(self.frames, self.chosen + late).clip(max=len(self.frames) - 1)
            there = torch.from_numpy(self.frames[rows] == self.chosen + late)
            views.append(self.xy[rows, view].where(there[:, None, None], torch.nan))
        return torch.stack(views, 2).flatten(0, 1)


def gathered(seen: Observations, rig: Rig, sizes: Tensor) -> Evidence:
    """The evidence of a recording, in double precision."""
    several = np.flatnonzero(seen.labelled.sum(1) > 1)
    places = np.linspace(0, len(several) - 1, min(_NUM_FRAMES, len(several))).round().astype(int)
    xy = torch.from_numpy(seen.xy)
    return Evidence(
        seen.frames, xy, seen.frames[several[places]], (0,) * xy.shape[1], rig.to(torch.float64), sizes
    )


def triangulated(evidence: Evidence, views: list[int], labels: Tensor | None = None) -> Tensor:
    """Points from some of the views, linearly: [n,3]; NaN where fewer than two of them see one."""
    rig = evidence.rig.select(views)
    uv = rig.undistort((evidence.labels() if labels is None else labels)[:, views])
    found = triangulate_differentiable(uv.points, rig.projection_matrices(), damping=_DAMPING)
    return found.points.where(found.valid[:, None], torch.nan)


def residuals(evidence: Evidence, points: Tensor, views: list[int], labels: Tensor | None = None) -> Tensor:
    """From where some of the views should see points to where they do, pixels: [n,v,2]; NaN where they do not."""
    rig = evidence.rig.select(views)
    seen = rig.project(points)
    uv = (evidence.labels() if labels is None else labels)[:, views]
    return (uv - seen.uv).where(seen.valid[..., None], torch.nan)


def point_errors(evidence: Evidence, views: list[int]) -> Tensor:
    """The error of some views among themselves, point by point, in pixels: [n].

    The squares of a point that k views see have 2k - 3 degrees of freedom. Points of three views and more count alone
    where there are enough: two views agree along their common rays on anything. NaN where a point does not count; inf
    where a view sees what is behind it, or beyond the fold of its lens.
    """
    labels = evidence.labels()
    points = triangulated(evidence, views, labels)
    squares = residuals(evidence, points, views, labels).square().sum(-1)
    seen, there = torch.isfinite(squares), torch.isfinite(labels[:, views]).all(-1)
    count = there.sum(1)
    error = (squares.where(seen, 0.0).sum(1) / (2 * count - 3).clamp_min(1)).sqrt()
    error = error.where((seen == there).all(1), torch.inf)
    least = 3 if int((count > 2).sum()) >= MIN_POINTS else 2
    return error.where(count >= least, torch.nan)


def disagreement(errors: Tensor) -> float:
    """The median of point errors; inf where too few count."""
    known = errors[~errors.isnan()]
    return float(known.median()) if len(known) >= MIN_POINTS else float("inf")
