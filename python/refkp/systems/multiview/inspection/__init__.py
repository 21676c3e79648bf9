"""The doctor: everything that can be said of a session before it is used, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from refkp._checks import fail
from refkp.geometry.triangulation import triangulate
from refkp.systems.multiview.inspection.cameras import inspect_cameras
from refkp.systems.multiview.inspection.consistency import inspect_consistency
from refkp.systems.multiview.inspection.errors import (
    FRAMES_AT_A_TIME,
    ViewErrors,
    at_frames,
    reprojection_errors,
)
from refkp.systems.multiview.inspection.evidence import gathered
from refkp.systems.multiview.inspection.files import VideoFacts, inspect_labels, inspect_videos, video_facts
from refkp.systems.multiview.inspection.findings import Finding
from refkp.systems.multiview.inspection.units import inspect_units
from refkp.systems.multiview.session import Observations, Recording, chosen_track, observations

#: A view whose error is so many times the median of the others stands out.
_STANDS_OUT = 5.0


class Inspection(NamedTuple):
    """What was measured, and what is wrong."""

    recording: Recording
    track: str
    seen: Observations
    videos: dict[str, VideoFacts]
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
    findings += inspect_cameras(recording)
    points = np.full((len(seen.frames), len(recording.joints), 3), np.nan)
    given: list[ViewErrors] = []
    ours: list[ViewErrors] = []
    calibrated = recording.cameras()
    if calibrated is not None and len(calibrated.names) > 1:
        part = seen.select(recording.calibrated_views())
        rig = calibrated.rig.to(torch.float64)
        evidence = gathered(part, rig, calibrated.sizes)
        if len(evidence.chosen):
            findings += inspect_consistency(evidence, calibrated.names, recording.joints).findings
        parts = torch.from_numpy(part.xy).transpose(1, 2).split(FRAMES_AT_A_TIME)
        points = torch.cat([triangulate(frames, rig).points for frames in parts]).numpy()
        ours = reprojection_errors(calibrated.names, part, points, rig)
        if recording.points is not None:
            given = reprojection_errors(
                calibrated.names, part, at_frames(recording.points, seen.frames, animal), rig
            )
            findings += _standing_out(given, findings)
        findings += inspect_units(recording, seen.frames, points, animal)
    return Inspection(recording, recording.tracks[animal], seen, videos, given, ours, points, findings)


def require_sound_cameras(command: str, recording: Recording) -> None:
    """Raise ValueError if the cameras of the views cannot be right, whatever the labels are."""
    findings = list(inspect_cameras(recording))
    if findings:
        remedy = "Name other cameras by --calibration, or leave views out by --leave_out."
        fail(
            command,
            recording.name,
            "a session with sound cameras",
            "; ".join(map(str, findings)).rstrip("."),
            remedy,
        )


def _standing_out(errors: list[ViewErrors], findings: list[Finding]) -> list[Finding]:
    """Views far from the points that came with the session, unless it was said already that they stand out."""
    told = " ".join(finding.where for finding in findings if finding.kind == "view stands out")
    result = []
    for row in errors:
        others = [other.median for other in errors if other is not row and np.isfinite(other.median)]
        if (
            len(others) > 1
            and row.median > _STANDS_OUT * float(np.median(others))
            and row.view not in told.split()
        ):
            measured = (
                f"{row.median:.1f} px from the points of the session, the others {np.median(others):.1f} px"
            )
            result.append(
                Finding("view stands out", row.view, measured, "Calibrate it again, or leave it out.")
            )
    return result
