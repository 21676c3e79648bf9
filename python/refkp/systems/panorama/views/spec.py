"""What to cut a panorama into: the `layout:` and `crops:` sections of a configuration.

Without torch, so that a command can tell its options before it loads what they are for. `placement` has the rules
behind a tile layout, `crops` those of the other strategies. Source: spec panorama 2.1, 2.2, 2.4 and 2.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from refkp._checks import fail, require_choice

Strategy = Literal["e2p", "sliding_window", "cubemap", "resize", "anyres", "anyres_max", "anyres_e2p"]


@dataclass(frozen=True)
class LayoutSpec:
    """Parameters of a tile layout: the `layout:` section of a configuration.

    Args:
        mode: the rule that places the tiles. "original" is the one of the AnyRes ERP builder: rows march from
            `pitch_min_deg` by vfov (1 - overlap) while they fit. "cover" takes as many rows as that step
            needs and spreads them evenly, so that the outer edges meet the range; a range below the field of
            view gets one row in its middle.
        hfov_deg: horizontal field of view of a tile, in (0,180).
        vfov_deg: vertical field of view; None makes square tiles.
        overlap: requested overlap of neighbours in [0,1); their step is hfov (1 - overlap).
        closed_loop_yaw: divide 360 degrees uniformly, so that the last tile meets the first; "cover" needs
            it.
        yaw_phase_deg: shift of all yaw centres; without a closed loop, of the first: the last one stays
            below 180 - hfov/2, so that a phase changes the number of tiles.
        include_seam_center: put a tile at yaw -180 first unless one is there.
        pitch_min_deg, pitch_max_deg: range that the tile EDGES cover; equal values give one row there.
        pitch_full_span: of "original": clip the pitch range to +-(90 - cap_deg).
        cap_deg: the polar cap left out by `pitch_full_span`.
        polar_caps: of "cover" with the pitch range -90 to 90: the first and the last row are one tile each,
            which looks straight down and up; the rows between are spread evenly. Square tiles of 90 degrees
            without overlap become the cube.
        yaw_by_latitude: of "cover": a row at pitch p gets ceil(360 cos(p) / step) tiles instead of
            ceil(360 / step), since circles of latitude shrink towards the poles.
        global_view: put the letterboxed panorama before the tiles.
    """

    mode: Literal["original", "cover"] = "original"
    hfov_deg: float = 90.0
    vfov_deg: float | None = None
    overlap: float = 0.5
    closed_loop_yaw: bool = True
    yaw_phase_deg: float = 0.0
    include_seam_center: bool = False
    pitch_min_deg: float = -45.0
    pitch_max_deg: float = 45.0
    pitch_full_span: bool = False
    cap_deg: float = 0.5
    polar_caps: bool = False
    yaw_by_latitude: bool = False
    global_view: bool = True

    def __post_init__(self) -> None:
        require_choice("LayoutSpec", "mode", self.mode, ("original", "cover"))
        for name, fov in (("hfov_deg", self.hfov_deg), ("vfov_deg", self.vertical_fov_deg)):
            require_fov("LayoutSpec", name, fov)
        if not 0 <= self.overlap < 1:
            fail("LayoutSpec", "overlap", "in [0,1)", self.overlap)
        if not self.pitch_min_deg <= self.pitch_max_deg:
            got = f"{self.pitch_min_deg} and {self.pitch_max_deg}"
            fail("LayoutSpec", "pitch_min_deg", "at most `pitch_max_deg`", got)
        if self.mode == "cover":
            self._require_cover()
        else:
            for name in ("polar_caps", "yaw_by_latitude"):
                if getattr(self, name):
                    fail("LayoutSpec", name, "False under mode 'original'", True, "Use mode='cover'.")

    def _require_cover(self) -> None:
        if not self.closed_loop_yaw:
            fail("LayoutSpec", "closed_loop_yaw", "True under mode 'cover'", False)
        if self.pitch_full_span:
            remedy = "Set the pitch range to -90 and 90 instead."
            fail("LayoutSpec", "pitch_full_span", "False under mode 'cover'", True, remedy)
        pitch_range = (self.pitch_min_deg, self.pitch_max_deg)
        if not (pitch_range[0] >= -90 and pitch_range[1] <= 90):
            fail("LayoutSpec", "pitch_min_deg, pitch_max_deg", "in [-90,90]", pitch_range)
        if self.polar_caps and pitch_range != (-90, 90):
            remedy = "Set them to -90 and 90."
            fail("LayoutSpec", "pitch_min_deg, pitch_max_deg", "-90 and 90 with polar caps",
                 pitch_range, remedy)  # fmt: skip

    @property
    def vertical_fov_deg(self) -> float:
        """The vertical field of view in degrees, `hfov_deg` for square tiles."""
        return self.hfov_deg if self.vfov_deg is None else self.vfov_deg


@dataclass(frozen=True)
class CropSpec:
    """How a panorama is cut into views.

    Args:
        strategy: "anyres_e2p": letterboxed panorama and the tiles of a default `LayoutSpec` with this field
            of view and overlap. "e2p": level tiles around the horizon, trimmed to their central 90 % of rows.
            "sliding_window": upright rectangles of panorama pixels, ten twelfths of the height. "cubemap":
            the faces front, right, back, left. "resize": the whole panorama squeezed. "anyres": squeezed
            panorama, crops of the horizon, crops of full height, trimmed tiles. "anyres_max": squeezed
            panorama, a grid of crops, tiles.
        fov_deg: field of view of tiles and windows, in (0,180).
        overlap: of "e2p", "sliding_window" and "anyres_e2p": the step is fov (1 - overlap), in [0,1).
        max_patches: of "anyres" (at least 0) and "anyres_max" (at least 2): views beside the panorama.
    """

    strategy: Strategy = "anyres_e2p"
    fov_deg: float = 90.0
    overlap: float = 0.5
    max_patches: int = 12

    def __post_init__(self) -> None:
        require_choice("CropSpec", "strategy", self.strategy, get_args(Strategy))
        require_fov("CropSpec", "fov_deg", self.fov_deg)
        if not 0 <= self.overlap < 1:
            fail("CropSpec", "overlap", "in [0,1)", self.overlap)
        least = 2 if self.strategy == "anyres_max" else 0
        if self.max_patches < least:
            fail("CropSpec", "max_patches", f"at least {least} for {self.strategy!r}", self.max_patches)


def require_fov(function: str, name: str, fov_deg: float) -> None:
    """Raise ValueError unless a pinhole camera can have this field of view."""
    if not 0 < fov_deg < 180:
        fail(function, name, "inside (0,180)", fov_deg)
