"""Cameras that are wrong are not written into a file of samples."""

from __future__ import annotations

from collections.abc import Sequence

from refkp._checks import fail
from refkp.systems.multiview.inspection.findings import Finding

#: What cannot be used at all.
UNUSABLE = (
    *("no rotation", "no camera matrix", "duplicate cameras", "view without a camera", "K of another size"),
    *("broken video", "video shorter than its labels"),
)

#: What the labels say against the cameras: cameras that the user named are believed nevertheless.
DOUBTFUL = (
    *("cameras swapped", "mirrored view", "shifted camera", "inverted camera", "view stands out"),
    *("wrong unit", "wrong distortion sign", "labels without distortion"),
)


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
    fatal = UNUSABLE if cameras_were_named else (*UNUSABLE, *DOUBTFUL)
    refused = [one for one in findings if one.kind in fatal and one.where not in ignored]
    if refused:
        remedy = "Name other cameras with --calibration, or leave views out with --leave_out."
        if all(one.kind in DOUBTFUL for one in refused):
            remedy += " Cameras named with --calibration are used in spite of it."
        told = "; ".join(f"{one.kind}: {one.where}: {one.measured}" for one in refused)
        fail("preprocess", session, "a session whose cameras and videos can be used", told, remedy)
    return [one for one in findings if one.where not in ignored]
