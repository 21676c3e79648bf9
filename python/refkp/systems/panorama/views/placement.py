"""Where a layout puts its tiles: the `layout:` section of a configuration and the rules behind it.

"original" is the rule of the AnyRes ERP builder, quirks included: a pitch range that the rows do not divide
stays partly unseen. "cover" spreads the rows so that the outer tile edges meet the range. Source: spec
panorama 2.1, 2.2 and 2.4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from refkp._checks import fail, require_choice

_EDGE = 1e-9  # degrees; a tile that ends exactly on the border of the range counts as inside

ZERO_TILES = "Widen the pitch range, make the field of view smaller, or use mode='cover'."


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


def require_fov(function: str, name: str, fov_deg: float) -> None:
    """Raise ValueError unless a pinhole camera can have this field of view."""
    if not 0 < fov_deg < 180:
        fail(function, name, "inside (0,180)", fov_deg)


def wrap180(angle_deg: float) -> float:
    """The same direction as `angle_deg`, in [-180,180)."""
    return (angle_deg + 180.0) % 360.0 - 180.0


class TileCentre(NamedTuple):
    """Where one tile looks, and its place in the grid of rows."""

    row: int
    col: int
    yaw_deg: float
    pitch_deg: float


def tile_centres(spec: LayoutSpec) -> list[TileCentre]:
    """The centres of all tiles, pitch rows ascending, yaw inner.

    Raises:
        ValueError: no row fits into the pitch range, or the phase of an open row leaves no tile.
    """
    pitches = _original_rows(spec) if spec.mode == "original" else _cover_rows(spec)
    if not pitches:
        pitch_range = spec.pitch_max_deg - spec.pitch_min_deg
        got = f"a range of {pitch_range:g} under a vertical field of {spec.vertical_fov_deg:g}"
        fail("ErpLayout", "pitch range", "room for one row", got, ZERO_TILES)
    centres = [
        TileCentre(row, col, yaw, pitch)
        for row, pitch in enumerate(pitches)
        for col, yaw in enumerate(_yaw_centres(spec, pitch))
    ]
    if not centres:
        remedy = "Make the phase smaller, or close the loop."
        fail("ErpLayout", "yaw_phase_deg", "small enough for a tile", spec.yaw_phase_deg, remedy)
    return centres


def _original_rows(spec: LayoutSpec) -> list[float]:
    low, high = spec.pitch_min_deg, spec.pitch_max_deg
    if spec.pitch_full_span:
        limit = 90.0 - spec.cap_deg
        low, high = max(low, -limit), min(high, limit)
    if low == high:
        return [low]
    fov = spec.vertical_fov_deg
    return _march(low + fov / 2, high - fov / 2 + _EDGE, fov * (1 - spec.overlap))


def _cover_rows(spec: LayoutSpec) -> list[float]:
    fov = spec.vertical_fov_deg
    first, last = spec.pitch_min_deg + fov / 2, spec.pitch_max_deg - fov / 2
    if spec.polar_caps:
        first, last = -90.0, 90.0
        fov = min(fov, spec.hfov_deg)  # a cap shows both of its sides to the next row
    if last - first < _EDGE:
        return [(first + last) / 2]
    gaps = math.ceil((last - first) / (fov * (1 - spec.overlap)) - _EDGE)
    return [first + (last - first) * k / gaps for k in range(gaps + 1)]


def _yaw_centres(spec: LayoutSpec, pitch: float) -> list[float]:
    step = spec.hfov_deg * (1 - spec.overlap)
    if spec.polar_caps and abs(pitch) == 90:
        return [wrap180(spec.yaw_phase_deg)]
    if spec.closed_loop_yaw:
        shrink = math.cos(math.radians(pitch)) if spec.yaw_by_latitude else 1.0
        count = max(1, math.ceil(360.0 * shrink / step))
        centres = [wrap180(-180.0 + spec.yaw_phase_deg + k * 360.0 / count) for k in range(count)]
        centres.sort(key=lambda yaw: round(yaw % 360.0, 9) % 360.0)  # a yaw of -1e-14 is first, not last
    else:
        half = spec.hfov_deg / 2
        start = -180.0 + half + spec.yaw_phase_deg  # of the original: the phase moves the start, not the end
        centres = [wrap180(yaw) for yaw in _march(start, 180.0 - half + _EDGE, step)]
    if spec.include_seam_center and all(abs(wrap180(yaw + 180.0)) > _EDGE for yaw in centres):
        centres.insert(0, -180.0)
    return centres


def _march(start: float, end: float, step: float) -> list[float]:
    """start, start + step, ... up to `end`."""
    centres = []
    while start <= end:
        centres.append(start)
        start += step
    return centres
