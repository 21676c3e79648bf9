"""What is wrong with a session: what was measured, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

#: Of a camera by itself: nothing is learnt of the other views from one that has them.
OF_ONE_CAMERA = ("no rotation", "no camera matrix", "skewed camera matrix", "folding lens")

#: Cameras that cannot be right, whatever the labels are: nothing is computed with them.
IMPOSSIBLE_CAMERAS = (
    *("no rotation", "no camera matrix", "folding lens"),
    *("duplicate cameras", "view without a camera", "K of another size", "wrong size in the file"),
)

#: Videos that do not have the pictures that were labelled.
UNUSABLE_VIDEOS = ("broken video", "video shorter than its labels")

#: What labels, and published cameras, say against cameras: those that the user named are believed nevertheless.
DOUBTFUL_CAMERAS = (
    *("cameras swapped", "mirrored view", "shifted camera", "inverted camera", "view stands out"),
    *("wrong unit", "wrong distortion sign", "labels without distortion", "skewed camera matrix"),
)


class Finding(NamedTuple):
    """One fault."""

    kind: str  # in a few words, the same for the same fault
    where: str  # the view, or views, or file
    measured: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.measured}. {self.remedy}"
