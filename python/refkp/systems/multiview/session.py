"""What a recording holds: synchronised views of animals with labelled points, their cameras, points in space.

Pixels are continuous with the origin at the outer corner of the top-left pixel (pixel centres at +0.5), whatever the
file says. NaN is a point that was not labelled or not found; a score is no visibility.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refkp._checks import fail
from refkp.systems.multiview.calibration import Calibration, matching_name

#: The track of an instance that has none.
UNTRACKED = ""


class Labels(NamedTuple):
    """The labelled points of one view: F labelled frames, A animals (tracks), J joints."""

    frames: np.ndarray  # int64 [F], numbers of video frames, increasing
    xy: np.ndarray  # float64 [F,A,J,2] pixels; NaN where missing
    score: np.ndarray  # float64 [F,A,J]; NaN where the file tells none
    by_user: np.ndarray  # bool [F,A], a person placed or corrected the points

    @property
    def visible(self) -> np.ndarray:
        """bool [F,A,J]: the point is there."""
        return np.isfinite(self.xy).all(-1)


@dataclass(frozen=True)
class View:
    """One camera of a recording. `labels` is in the order of the recording's joints and tracks."""

    name: str
    labels: Labels
    labels_file: Path
    joints: tuple[str, ...]  # as the file orders them
    video: Path | None = None


class SpacePoints(NamedTuple):
    """Points in space that somebody triangulated: row i belongs to video frame `first_frame` + i."""

    xyz: np.ndarray  # float64 [F,A,J,3], in the unit of the calibration; NaN where missing
    first_frame: int
    file: Path


@dataclass(frozen=True)
class Recording:
    """One session: V synchronised views of the same animals. Views are sorted by name."""

    name: str
    folder: Path
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]  # bones, as pairs of joints
    tracks: tuple[str, ...]  # animals; UNTRACKED for instances without a track
    views: tuple[View, ...]
    calibration: Calibration | None = None
    points: SpacePoints | None = None
    reprojections: SpaceProjections | None = None

    @property
    def view_names(self) -> tuple[str, ...]:
        return tuple(view.name for view in self.views)

    def calibrated_views(self) -> list[int]:
        """The numbers of the views that have a camera."""
        known = self.calibration.names if self.calibration is not None else ()
        return [index for index, name in enumerate(self.view_names) if matching_name(name, known) is not None]

    def cameras(self) -> Calibration | None:
        """The cameras of `calibrated_views`, in their order; None without a calibration."""
        if self.calibration is None:
            return None
        return self.calibration.of([self.view_names[index] for index in self.calibrated_views()])

    def without(self, names: tuple[str, ...]) -> Recording:
        """The recording without some of its views.

        Raises:
            ValueError: a name is not that of a view.
        """
        for name in names:
            if name not in self.view_names:
                fail("Recording", "leave_out", f"one of {', '.join(self.view_names)}", repr(name))
        return replace(self, views=tuple(view for view in self.views if view.name not in names))


class SpaceProjections(NamedTuple):
    """Points that somebody projected into ideal pinhole pictures (without distortion), view by view."""

    xy: dict[str, np.ndarray]  # view -> float64 [F,A,J,2] pixels; NaN where missing
    file: Path


class Observations(NamedTuple):
    """One animal in all views, frame by frame: what geometry works on."""

    frames: np.ndarray  # int64 [F], labelled in at least one view, increasing
    xy: np.ndarray  # float64 [F,V,J,2] pixels; NaN where missing
    score: np.ndarray  # float64 [F,V,J]; NaN where unknown
    labelled: np.ndarray  # bool [F,V], the view has an instance there

    def select(self, views: Sequence[int]) -> Observations:
        """Those of some of the views."""
        index = list(views)
        return Observations(self.frames, self.xy[:, index], self.score[:, index], self.labelled[:, index])

    @property
    def visible(self) -> np.ndarray:
        """bool [F,V,J]."""
        return np.isfinite(self.xy).all(-1)


def observations(recording: Recording, track: str | None = None) -> Observations:
    """Align the views of a recording by frame number, for one animal.

    Args:
        recording: of one animal, or of several and then with `track`.
        track: which animal.

    Raises:
        ValueError: several animals and no choice, or a track that is not there.
    """
    animal = recording.tracks.index(chosen_track(recording, track))
    frames = np.unique(np.concatenate([view.labels.frames for view in recording.views]))
    shape = (len(frames), len(recording.views), len(recording.joints))
    xy, score = np.full((*shape, 2), np.nan), np.full(shape, np.nan)
    for index, view in enumerate(recording.views):
        rows = np.searchsorted(frames, view.labels.frames)
        xy[rows, index], score[rows, index] = view.labels.xy[:, animal], view.labels.score[:, animal]
    labelled = np.isfinite(xy).all(-1).any(-1)
    return Observations(frames, xy, score, labelled)


def chosen_track(recording: Recording, track: str | None) -> str:
    """The animal to work on: the one named, or the only one there is.

    Raises:
        ValueError: several and none named, or no such track; lists them with their numbers of instances.
    """
    if track is not None:
        if track not in recording.tracks:
            fail("Recording", "track", f"one of {_counted_tracks(recording)}", repr(track))
        return track
    if len(recording.tracks) > 1:
        rule = f"chosen among the {len(recording.tracks)} animals of {recording.name}"
        fail("Recording", "track", rule, "None", f"It has the tracks {_counted_tracks(recording)}.")
    return recording.tracks[0]


def _counted_tracks(recording: Recording) -> str:
    counts = sum(view.labels.visible.any(-1).sum(0) for view in recording.views)
    pairs = zip(recording.tracks, np.atleast_1d(counts).tolist(), strict=True)
    return ", ".join(f"{name or '(untracked)'} ({count} instances)" for name, count in pairs)
