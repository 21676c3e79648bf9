"""Where a layout puts its tiles: the rules behind `LayoutSpec`.

"original" is the rule of the AnyRes ERP builder, quirks included: a pitch range that the rows do not divide
stays partly unseen. "cover" spreads the rows so that the outer tile edges meet the range. Source: spec
panorama 2.1, 2.2 and 2.4.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from refkp._checks import fail
from refkp.systems.panorama.views.spec import LayoutSpec

_EDGE = 1e-9  # degrees; a tile that ends exactly on the border of the range counts as inside

ZERO_TILES = "Widen the pitch range, make the field of view smaller, or use mode='cover'."


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
