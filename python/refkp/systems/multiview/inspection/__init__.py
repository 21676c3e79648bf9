"""The doctor: everything that can be said of a session before it is used, and what to do about it."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import torch

from refkp.geometry.triangulation import triangulate
from refkp.systems.multiview.calibration import Calibration
from refkp.systems.multiview.inspection.cameras import inspect_cameras
from refkp.systems.multiview.inspection.consistency import inspect_consistency
from refkp.systems.multiview.inspection.errors import (
    FRAMES_AT_A_TIME,
    ViewErrors,
    at_frames,
    reprojection_errors,
)
from refkp.systems.multiview.inspection.evidence import gathered
from refkp.systems.multiview.inspection.files import (
    VideoFacts,
    inspect_labels,
    inspect_points,
    inspect_videos,
    video_facts,
)
from refkp.systems.multiview.inspection.findings import OF_ONE_CAMERA, Finding
from refkp.systems.multiview.inspection.units import inspect_units
from refkp.systems.multiview.session import Observations, Recording, chosen_track, observations

#: Of single labels, which says nothing of a view.
_OF_LABELS = "joints exchanged"

#: A view whose error is so many times the median of the others stands out.
_STANDS_OUT = 5.0


class Inspection(NamedTuple):
    """What was measured, and what is wrong."""

    recording: Recording
    track: str
    seen: Observations
    videos: dict[str, VideoFacts]
    cameras: (
        Calibration | None
    )  # of the views that are compared: those whose cameras are not wrong by themselves
    given: list[ViewErrors]  # of the points that came with the session; empty without them
    ours: list[ViewErrors]  # of points triangulated here; empty without two cameras
    points: np.ndarray  # float64 [F,J,3], those
    findings: list[Finding]


def inspect_recording(recording: Recording, track: str | None = None) -> Inspection:
    """Inspect files, cameras, labels, lengths, and the views against each other.

    Args:
        recording: as read.
        track: which animal, where there are several.

    Raises:
        ValueError: several animals and no choice.
    """
    animal = recording.tracks.index(chosen_track(recording, track))
    seen = observations(recording, recording.tracks[animal])
    videos, findings = video_facts(recording)
    findings += [*inspect_videos(recording, videos), *inspect_labels(recording, seen, videos)]
    findings += [*inspect_points(recording, seen, animal), *inspect_cameras(recording, videos)]
    points = np.full((len(seen.frames), len(recording.joints), 3), np.nan)
    given: list[ViewErrors] = []
    ours: list[ViewErrors] = []
    cameras = _comparable(recording, findings)
    if cameras is not None and len(cameras.names) > 1:
        part = seen.select([recording.view_names.index(name) for name in cameras.names])
        rig = cameras.rig.to(torch.float64)
        evidence = gathered(part, rig, cameras.sizes)
        against: list[Finding] = []
        if len(evidence.chosen):
            against = inspect_consistency(evidence, cameras.names, recording.joints).findings
            told = {(one.kind, one.where) for one in findings}
            findings += [one for one in against if (one.kind, one.where) not in told]
        parts = torch.from_numpy(part.xy).transpose(1, 2).split(FRAMES_AT_A_TIME)
        points = torch.cat([triangulate(frames, rig).points for frames in parts]).numpy()
        ours = reprojection_errors(cameras.names, part, points, rig)
        if recording.points is not None:
            there = at_frames(recording.points, seen.frames, animal)
            given = reprojection_errors(cameras.names, part, there, rig)
            findings += _standing_out(given, against)
        # Views that do not fit each other tell no lengths.
        measured = points if all(one.kind == _OF_LABELS for one in against) else np.full_like(points, np.nan)
        findings += inspect_units(recording, seen.frames, measured, animal)
    return Inspection(
        recording, recording.tracks[animal], seen, videos, cameras, given, ours, points, findings
    )


def _comparable(recording: Recording, findings: list[Finding]) -> Calibration | None:
    """The cameras of the views without those that are wrong by themselves: they would speak against the others."""
    cameras = recording.cameras()
    wrong = {finding.where for finding in findings if finding.kind in OF_ONE_CAMERA}
    return None if cameras is None else cameras.of([name for name in cameras.names if name not in wrong])


def _standing_out(errors: list[ViewErrors], against: list[Finding]) -> list[Finding]:
    """Views far from the points that came with the session, unless it was said already what is wrong with them."""
    told = " ".join(finding.where for finding in against if finding.kind != _OF_LABELS)
    result = []
    for row in errors:
        others = [other.median for other in errors if other is not row and np.isfinite(other.median)]
        if (
            len(others) > 1
            and row.median > _STANDS_OUT * float(np.median(others))
            and row.view not in re.findall(r"[^\s,]+", told)
        ):
            measured = (
                f"{row.median:.1f} px from the points of the session, the others {np.median(others):.1f} px"
            )
            result.append(
                Finding("view stands out", row.view, measured, "Calibrate it again, or leave it out.")
            )
    return result
