"""What a made-up session is like."""

from __future__ import annotations

from dataclasses import dataclass

from refkp._checks import fail


@dataclass(frozen=True)
class SessionSpec:
    """A walking animal in front of a ring of cameras.

    Args:
        body: "insect", "mouse", "quadruped", or a body file.
        shape_sigma: of the shapes of the animal about the body's.
        num_frames: of the videos.
        num_views: cameras.
        size: (height, width) of the pictures.
        noise_px: standard deviation of the labels, along each axis.
        missing: share of the labels that are not there.
        outliers: share of the labels that are somewhere else.
        k1: radial distortion of the lenses, up to a fifth more or less.
        body_length: millimetres of a unit of the body, which is the length of the three without tail and antennae.
        with_videos: write videos; else labels alone.
    """

    body: str = "quadruped"
    shape_sigma: float = 0.0
    num_frames: int = 120
    num_views: int = 4
    size: tuple[int, int] = (480, 640)
    noise_px: float = 0.5
    missing: float = 0.1
    outliers: float = 0.0
    k1: float = -0.25
    body_length: float = 80.0
    with_videos: bool = True

    def __post_init__(self) -> None:
        for name, least in (("num_frames", 1), ("num_views", 2)):
            if getattr(self, name) < least:
                fail("SessionSpec", name, f"at least {least}", getattr(self, name))
        if min(self.size) < 16:
            fail("SessionSpec", "size", "of at least 16 pixels", self.size)
        if self.with_videos and any(side % 2 for side in self.size):
            remedy = "The codec halves the resolution of colours and cuts an odd side."
            fail("SessionSpec", "size", "even, for videos", self.size, remedy)
        for name in ("missing", "outliers"):
            if not 0 <= getattr(self, name) < 1:
                fail("SessionSpec", name, "in [0,1)", getattr(self, name))
        for name in ("noise_px", "shape_sigma"):
            if not 0 <= getattr(self, name) < float("inf"):
                fail("SessionSpec", name, "finite and not negative", getattr(self, name))
        if not 0 < self.body_length < float("inf"):
            fail("SessionSpec", "body_length", "finite and above 0", self.body_length)
        if not abs(self.k1) < float("inf"):
            fail("SessionSpec", "k1", "finite", self.k1)
