"""What a layout sees of the sphere, in numbers. Source: spec panorama 2.2 (effective overlap) and 2.4."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from refkp.systems.panorama.views.layout import ErpLayout, ViewRecord


class RowReport(NamedTuple):
    """One row of views at one pitch."""

    kind: str  # "tile" or "crop"
    pitch_deg: float
    num_views: int
    overlap: float  # 1 - widest step / hfov along the circle of latitude of the row; negative: a gap


class LayoutReport(NamedTuple):
    """What a layout sees."""

    num_tiles: int
    num_crops: int
    coverage: float  # fraction of the sphere that at least one tile or crop sees
    multiplicity: tuple[float, ...]  # fraction of the sphere seen by exactly 0, 1, 2, ... of them
    solid_angle: float  # of all tiles and crops together, in steradians; 4 pi is one whole sphere
    rows: tuple[RowReport, ...]  # upwards
    pitch_overlap: float | None  # 1 - widest pitch step / vfov of the tile rows; None for a single row


def layout_report(layout: ErpLayout, height: int = 180) -> LayoutReport:
    """Coverage, multiplicity, solid angle and effective overlaps.

    Args:
        layout: the views; a global view counts for nothing here.
        height: rows of the ERP grid on which coverage is counted.

    >>> report = layout_report(ErpLayout.build(hfov_deg=90.0, overlap=0.2))
    >>> [f"{row.num_views} tiles overlapping by {row.overlap:.2f}" for row in report.rows]
    ['5 tiles overlapping by 0.20']
    """
    fractions = tuple(layout.coverage(height))
    crops = [_row_report(row) for row in _rows(layout.crops)]
    tiles = [_row_report(row) for row in _rows(layout.tiles)]
    return LayoutReport(
        num_tiles=len(layout.tiles),
        num_crops=len(layout.crops),
        coverage=sum(fractions[1:]),
        multiplicity=fractions,
        solid_angle=sum(view.solid_angle for view in (*layout.crops, *layout.tiles)),
        rows=(*crops, *tiles),
        pitch_overlap=_pitch_overlap(layout),
    )


def _rows(views: tuple[ViewRecord, ...]) -> list[list[ViewRecord]]:
    """The views by their stated row, upwards."""
    rows: dict[int, list[ViewRecord]] = {}
    for view in views:
        rows.setdefault(view.row, []).append(view)
    return sorted(rows.values(), key=lambda row: row[0].pitch_deg)


def _row_report(row: list[ViewRecord]) -> RowReport:
    yaws = sorted(view.yaw_deg for view in row)
    gaps = [following - yaw for yaw, following in pairwise([*yaws, yaws[0] + 360])]
    # The hfov of a crop is longitude; that of a tile is an angle at its centre, where longitudes are closer.
    shrink = math.cos(math.radians(row[0].pitch_deg)) if row[0].kind == "tile" else 1.0
    overlap = 1 - max(gaps) * shrink / min(view.hfov_deg for view in row)
    return RowReport(row[0].kind, row[0].pitch_deg, len(row), overlap)


def _pitch_overlap(layout: ErpLayout) -> float | None:
    pitches = sorted({tile.pitch_deg for tile in layout.tiles})
    if len(pitches) < 2:
        return None
    widest = max(following - pitch for pitch, following in pairwise(pitches))
    return 1 - widest / min(tile.vfov_deg for tile in layout.tiles)
