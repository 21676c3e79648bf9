"""How sessions become samples. No torch here: the command's parser builds on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from refkp._checks import fail
from refkp.data.units import Unit

Crop = Literal["whole", "centred", "animal"]


@dataclass(frozen=True)
class PreprocessSpec:
    """Which instants become samples, and what is stored of them.

    Args:
        min_views: views that see the animal in a sample, at least.
        max_views: different cameras of all sessions, at most.
        size: side of the stored pictures, pixels.
        crop: the whole picture, stretched; its central square; or a square around the animal in that view.
        margin: by which the square around the animal is larger than it, as a share of its longer side.
        frame_skip: take every so many of the instants that min_views leaves.
        max_frames: of a session, after that.
        jpeg_quality: 1 to 100.
        min_score: labels with a lower score are missing; those without a score stay.
        world_unit: of the calibration; files do not tell it.
        undistort: pictures and labels without the distortion of the lens, where there is a camera.
        no_3d_data: leave the session's points in space out.
        soft_visibility: the visibility of a label is its score, within 0 to 1; otherwise 1.
    """

    min_views: int = 2
    max_views: int = 8
    size: int = 224
    crop: Crop = "whole"
    margin: float = 0.05
    frame_skip: int = 1
    max_frames: int | None = None
    jpeg_quality: int = 95
    min_score: float | None = None
    world_unit: Unit = "mm"
    undistort: bool = True
    no_3d_data: bool = False
    soft_visibility: bool = False

    def __post_init__(self) -> None:
        for name in ("min_views", "max_views", "frame_skip", "max_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                fail("PreprocessSpec", name, "at least 1", value)
        if self.max_views < self.min_views:
            fail("PreprocessSpec", "max_views", f"at least min_views, {self.min_views}", self.max_views)
        if not 8 <= self.size <= 8192:
            fail("PreprocessSpec", "size", "in 8 to 8192", self.size)
        if not 1 <= self.jpeg_quality <= 100:
            fail("PreprocessSpec", "jpeg_quality", "in 1 to 100", self.jpeg_quality)
        if not 0 <= self.margin < 100:
            fail("PreprocessSpec", "margin", "in [0,100)", self.margin)
