"""Which instants of a session become samples, and their labels as they will be stored but for the crop.

Everything here is decided from labels and cameras, before a video is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from refkp._checks import fail
from refkp.geometry.distortion import undistort_pixels
from refkp.geometry.rig import Rig
from refkp.systems.multiview.inspection.errors import at_frames
from refkp.systems.multiview.preprocessing.spec import PreprocessSpec
from refkp.systems.multiview.session import Recording, chosen_track, observations

#: Points that are undistorted at a time.
_PART = 1 << 15

#: A point in space this many standard deviations beyond the median distance from the median point is none.
_OUTLIER = 4.0


class Instants(NamedTuple):
    """n samples of v views of a session: what they will hold beside pictures."""

    frames: np.ndarray  # int64 [n], numbers of video frames
    used: np.ndarray  # bool [n,v]
    xy: np.ndarray  # float64 [n,v,J,2] raw pixels, without distortion if that is asked for; NaN where missing
    visibility: np.ndarray  # float32 [n,v,J]; 0 where missing
    points: np.ndarray  # float64 [n,J,3], unit of the world; NaN where missing

    def rows(self, first: int, end: int) -> Instants:
        """A part of them."""
        return Instants(*(part[first:end] for part in self))


class SessionPlan(NamedTuple):
    """What becomes of a session of v views."""

    name: str
    view_names: tuple[str, ...]
    videos: tuple[Path | None, ...]
    rig: Rig | None  # of the views, float64
    instants: Instants
    counts: dict[str, int]  # why views and points are not there


def plan_session(
    recording: Recording, spec: PreprocessSpec, joints: Sequence[str], track: str | None = None
) -> SessionPlan:
    """Choose the samples of a session.

    Args:
        recording: as read.
        spec: what is asked for.
        joints: the order of all sessions.
        track: which animal, where there are several.

    Raises:
        ValueError: other joints, several animals and no choice, a view without a camera.
    """
    animal = chosen_track(recording, track)
    seen = observations(recording, animal)
    order = _joint_order(recording, joints)
    xy, score = seen.xy[:, :, order].copy(), seen.score[:, :, order]
    names = recording.view_names
    rig = None if recording.calibration is None else recording.calibration.of(names).rig.to(torch.float64)
    counts = {"frames": len(seen.frames), "potential views": seen.labelled.size}
    counts["views without labels"] = int((~seen.labelled).sum())
    if spec.min_score is not None:
        counts["points of low score"] = _drop(xy, score < spec.min_score)
    if spec.undistort and rig is not None:
        counts["points beyond the lens"] = _undistort(xy, rig)
    points = np.full((len(seen.frames), len(joints), 3), np.nan)
    if recording.points is not None and not spec.no_3d_data:
        points = at_frames(recording.points, seen.frames, recording.tracks.index(animal))[:, order]
        far = outliers(points)
        points[far] = np.nan
        counts["outliers in space"] = int(far.sum())
        counts["points of outliers"] = _drop(xy, np.broadcast_to(far[:, None], xy.shape[:-1]))
    there = np.isfinite(xy).all(-1)
    visibility = (
        np.clip(np.nan_to_num(score, nan=1.0), 0, 1) if spec.soft_visibility else np.ones(there.shape)
    )
    instants = Instants(
        seen.frames, there.any(-1), xy, np.where(there, visibility, 0).astype(np.float32), points
    )
    videos = tuple(view.video for view in recording.views)
    counts["views left without points"] = int((seen.labelled & ~instants.used).sum())
    chosen = _chosen(instants, videos, spec, counts)
    return SessionPlan(recording.name, names, videos, rig, chosen, counts)


def outliers(points: np.ndarray) -> np.ndarray:
    """Which of the points [F,J,3] are far from the others of their frame: bool [F,J].

    So is a point whose distance to the median point is more than the median distance and 4 standard deviations.

    Source: spec multiview b.2.
    """
    far = np.zeros(points.shape[:2], dtype=bool)
    known = np.isfinite(points).all(-1)
    rows = known.any(1)
    kept = np.where(known[..., None], points, np.nan)[rows]
    distance = np.linalg.norm(kept - np.nanmedian(kept, 1, keepdims=True), axis=-1)
    limit = np.nanmedian(distance, 1, keepdims=True) + _OUTLIER * np.nanstd(distance, 1, keepdims=True)
    far[rows] = distance > limit
    return far


def _joint_order(recording: Recording, joints: Sequence[str]) -> list[int]:
    """Where the session has each of the joints."""
    if set(recording.joints) != set(joints):
        differ = sorted({*recording.joints} ^ {*joints})
        remedy = "Use one skeleton, or write the sessions to different files."
        rule = f"of the same joints as the first; {', '.join(differ)} are in one of them alone"
        fail("preprocess", recording.name, rule, f"{len(recording.joints)} and {len(joints)} joints", remedy)
    return [recording.joints.index(joint) for joint in joints]


def _drop(xy: np.ndarray, which: np.ndarray) -> int:
    """Make points missing; returns how many were there."""
    count = int((which & np.isfinite(xy).all(-1)).sum())
    xy[which] = np.nan
    return count


def _undistort(xy: np.ndarray, rig: Rig) -> int:
    """Move points [F,v,J,2] to where a camera without distortion sees them; returns how many it sees nowhere."""
    lost = 0
    for view in range(xy.shape[1]):
        there = np.isfinite(xy[:, view]).all(-1)
        if not there.any():
            continue
        parts = torch.from_numpy(xy[:, view][there]).split(_PART)
        ideal = torch.cat(
            [undistort_pixels(part, rig.K[view], rig.distortion[view]).points for part in parts]
        )
        lost += int((~torch.isfinite(ideal).all(-1)).sum())
        xy[:, view][there] = ideal.numpy()
    return lost


def _chosen(
    instants: Instants, videos: Sequence[Path | None], spec: PreprocessSpec, counts: dict[str, int]
) -> Instants:
    """The instants that enough views with a video see, thinned; counts the others."""
    filmed = np.array([video is not None for video in videos])
    counts["views without a video"] = int((instants.used & ~filmed).sum())
    used = instants.used & filmed
    enough = np.flatnonzero(used.sum(1) >= spec.min_views)
    kept = enough[:: spec.frame_skip][: spec.max_frames]
    counts["frames of too few views"] = len(used) - len(enough)
    counts["frames thinned out"] = len(enough) - len(kept)
    counts["samples"], counts["views"] = len(kept), int(used[kept].sum())
    return Instants(*(part[kept] for part in instants._replace(used=used)))
