"""From a recording to points in space, and to better cameras."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from refkp._checks import fail
from refkp.geometry.bundle import Bundle, BundleSpec, adjust
from refkp.geometry.smoothing import smooth_points
from refkp.geometry.triangulation import TriangulationSpec, triangulate
from refkp.systems.multiview.calibration import Calibration
from refkp.systems.multiview.session import Observations, Recording, chosen_track, observations


class Reconstruction(NamedTuple):
    """One animal in space, at every frame from the first labelled one to the last; V views with a camera."""

    calibration: Calibration  # of the views, in their order
    seen: Observations
    points: np.ndarray  # float64 [F,J,3], the unit of the calibration; NaN where missing
    covariance: np.ndarray  # float64 [F,J,3,3] of the points as measured; NaN where they are not
    inliers: np.ndarray  # bool [F,V,J], labels that a point stands on
    residual_px: np.ndarray  # float64 [F,V,J] of the points as measured; NaN where a view sees none

    @property
    def measured(self) -> np.ndarray:
        """bool [F,J]: views agree on the point; others were filled in over time, if they are there at all."""
        return np.any(self.inliers, axis=1)


def reconstruct(
    recording: Recording,
    track: str | None = None,
    *,
    spec: TriangulationSpec = TriangulationSpec(),  # noqa: B008 (frozen)
    over_time: bool = False,
) -> Reconstruction:
    """Triangulate one animal of a recording.

    Args:
        recording: with cameras of at least two views; views without one are left out.
        track: which animal, where there are several.
        spec: how views are made to agree.
        over_time: smooth the tracks with `geometry.smoothing.smooth_points`, which fills gaps in.

    Raises:
        ValueError: fewer than two cameras, several animals and no choice, or no point that views agree on.
    """
    calibration, seen = calibrated(recording, track)
    seen = _every_frame(seen)
    found = triangulate(
        torch.from_numpy(seen.xy).transpose(1, 2), calibration.rig.to(torch.float64), spec=spec
    )
    if not found.inliers.any():
        rule = f"with labels that {spec.min_views} views agree on"
        remedy = "Look at `refkp multiview inspect`, ask for fewer views, or raise the threshold."
        fail("Recording", recording.name, rule, f"none, of {len(calibration.names)} views", remedy)
    points = smooth_points(found.points, found.covariance) if over_time else found.points
    return Reconstruction(
        calibration,
        seen,
        points.numpy(),
        found.covariance.numpy(),
        found.inliers.transpose(1, 2).numpy(),
        found.residual_px.transpose(1, 2).numpy(),
    )


class Refinement(NamedTuple):
    """Better cameras, and the frames that they were found with."""

    calibration: Calibration
    before: Calibration
    frames: np.ndarray  # int64 [f]
    bundle: Bundle  # its points are those of frame 0, then frame 1, ...


def refine_cameras(
    recording: Recording,
    track: str | None = None,
    *,
    spec: BundleSpec = BundleSpec(),  # noqa: B008 (frozen)
    max_frames: int = 400,
) -> Refinement:
    """Calibrate the cameras of a recording anew from the animal itself: `geometry.bundle.adjust`.

    Args:
        recording: with cameras of at least two views to start from.
        track: which animal, where there are several.
        spec: what is free.
        max_frames: so many are used, evenly taken from those that two views and more see.

    Raises:
        ValueError: fewer than two cameras, several animals and no choice, or too few labels that agree.
    """
    calibration, seen = calibrated(recording, track)
    several = np.flatnonzero(seen.labelled.sum(1) > 1)
    rows = several[np.linspace(0, len(several) - 1, min(max_frames, len(several))).round().astype(int)]
    uv = torch.from_numpy(seen.xy[rows]).transpose(1, 2).flatten(0, 1)
    bundle = adjust(uv, calibration.rig, spec=spec)
    return Refinement(calibration._replace(rig=bundle.rig), calibration, seen.frames[rows], bundle)


def calibrated(recording: Recording, track: str | None = None) -> tuple[Calibration, Observations]:
    """The cameras of the views that have one, and one animal in these views.

    Raises:
        ValueError: fewer than two cameras, or several animals and no choice.
    """
    views = recording.calibrated_views()
    if recording.calibration is None or len(views) < 2:
        rule = "with cameras of at least two views"
        remedy = (
            "Put calibration.toml or COLMAP's text files into the session, or name a file by --calibration."
        )
        fail("Recording", recording.name, rule, f"{len(views)} of {len(recording.views)}", remedy)
    kept = replace(recording, views=tuple(recording.views[view] for view in views))
    return recording.calibration.of(kept.view_names), observations(kept, chosen_track(recording, track))


def _every_frame(seen: Observations) -> Observations:
    """The same with a row for every frame from the first to the last."""
    frames = np.arange(seen.frames[0], seen.frames[-1] + 1)
    rows = seen.frames - seen.frames[0]

    def spread(values: np.ndarray, missing: object) -> np.ndarray:
        result = np.full((len(frames), *values.shape[1:]), missing, dtype=values.dtype)
        result[rows] = values
        return result

    return Observations(
        frames, spread(seen.xy, np.nan), spread(seen.score, np.nan), spread(seen.labelled, False)
    )
