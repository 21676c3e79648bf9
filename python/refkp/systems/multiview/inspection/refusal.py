"""Sessions whose cameras or videos cannot be used are refused, with all that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from refkp._checks import fail
from refkp.systems.multiview.inspection.cameras import inspect_cameras
from refkp.systems.multiview.inspection.files import VideoFacts
from refkp.systems.multiview.inspection.findings import (
    DOUBTFUL_CAMERAS,
    IMPOSSIBLE_CAMERAS,
    UNUSABLE_VIDEOS,
    Finding,
)
from refkp.systems.multiview.session import Recording

_REMEDY = "Name other cameras with --calibration, or leave views out with --leave_out."


def require_sound_cameras(command: str, recording: Recording, videos: Mapping[str, VideoFacts]) -> None:
    """Raise ValueError if the views have no cameras, or ones that cannot be right, whatever the labels are.

    Args:
        command: as the user called it.
        recording: as read.
        videos: of its views, those that can be read.
    """
    kinds = "no calibration", *IMPOSSIBLE_CAMERAS
    refused = [finding for finding in inspect_cameras(recording, videos) if finding.kind in kinds]
    if refused:
        fail(command, recording.name, "a session with sound cameras", _told(refused), _REMEDY)


def refuse_broken(
    session: str,
    findings: Sequence[Finding],
    *,
    cameras_were_named: bool = False,
    ignored: Sequence[str] = (),
) -> list[Finding]:
    """The findings that are no reason to refuse a session.

    Args:
        session: its name.
        findings: of its inspection.
        cameras_were_named: by the user, in place of those in the session.
        ignored: files that will not be used.

    Raises:
        ValueError: cameras or videos that cannot be used, or cameras of the session that its labels speak against.
    """
    kinds = *IMPOSSIBLE_CAMERAS, *UNUSABLE_VIDEOS, *(() if cameras_were_named else DOUBTFUL_CAMERAS)
    kept = [finding for finding in findings if finding.where not in ignored]
    refused = [finding for finding in kept if finding.kind in kinds]
    if refused:
        remedy = _REMEDY
        if any(finding.kind in DOUBTFUL_CAMERAS for finding in refused):
            remedy += (
                " What labels alone say against cameras that are named with --calibration stops nothing."
            )
        fail("preprocess", session, "a session whose cameras and videos can be used", _told(refused), remedy)
    return kept


def _told(findings: Sequence[Finding]) -> str:
    return "; ".join(map(str, findings)).rstrip(".")
