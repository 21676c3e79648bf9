"""One view of a layout: the whole panorama, a perspective tile, or a rectangle of panorama pixels.

Source: spec panorama 2.5 and 2.6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from refkp.geometry import sphere

Box = tuple[float, float, float, float]

#: Part of the square global view that a letterboxed 2:1 panorama fills: left, top, right, bottom in [0,1].
LETTERBOX: Box = (0.0, 0.25, 1.0, 0.75)
#: The box of a view without borders.
FULL: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class ViewRecord:
    """One view of a layout. The kind is stated, never inferred from a number.

    "global": the whole panorama, letterboxed, or squeezed where `letterbox` is the full view. "tile": a
    pinhole camera. "crop": the rectangle of panorama pixels around (yaw, pitch) that is `hfov_deg` of
    longitude wide and `vfov_deg` of latitude high; it wraps at the seam.
    """

    view_index: int  # place in the views tensor
    kind: Literal["global", "tile", "crop"]
    tile_id: int  # -1 unless a tile
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    hfov_deg: float
    vfov_deg: float
    row: int  # pitch row, -1 for the global view
    col: int  # place in the row, -1 for the global view
    letterbox: Box  # filled part of the view: left, top, right, bottom in [0,1]

    @property
    def rotation(self) -> Tensor:
        """`world_from_camera` [3,3] float64."""
        return sphere.view_rotation(self.yaw_deg, self.pitch_deg, self.roll_deg)

    @property
    def forward_xyz(self) -> Tensor:
        """The viewing direction (cos p sin y, sin p, cos p cos y) [3] float64; x right, y up, z forward."""
        return self.rotation[:, 2]

    @property
    def solid_angle(self) -> float:
        """In steradians."""
        if self.kind == "tile":
            return float(sphere.tile_solid_angle(sphere.half_tangents(self.hfov_deg, self.vfov_deg)))
        top, bottom = (math.radians(self.pitch_deg + sign * self.vfov_deg / 2) for sign in (1, -1))
        return math.radians(self.hfov_deg) * (math.sin(top) - math.sin(bottom))

    def pixel_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The rectangle (left, top, width, height) of a crop in a panorama of height x width pixels.

        `left` is in [0, width) and left + width may go beyond the seam. The layout's angles are met to the
        nearest pixel.
        """
        left = round(((self.yaw_deg - self.hfov_deg / 2) / 360 + 0.5) * width)
        top = round((0.5 - (self.pitch_deg + self.vfov_deg / 2) / 180) * height)
        columns, rows = round(self.hfov_deg / 360 * width), round(self.vfov_deg / 180 * height)
        return left % width, top, max(1, columns), max(1, rows)

    def outline(self, samples: int = 64) -> Tensor:
        """Directions [4 samples + 1,3] along the border: a closed line from the lower left corner."""
        if self.kind == "tile":
            return sphere.tile_outline(
                self.rotation, sphere.half_tangents(self.hfov_deg, self.vfov_deg), samples
            )
        step = torch.linspace(-0.5, 0.5, samples + 1, dtype=torch.float64)[:-1]
        edge = torch.full_like(step, 0.5)
        right = torch.cat((step, edge, -step, -edge, -edge[:1]))
        up = torch.cat((-edge, step, edge, -step, -edge[:1]))
        lon, lat = self.yaw_deg + right * self.hfov_deg, self.pitch_deg + up * self.vfov_deg
        return sphere.direction_from_lonlat(torch.deg2rad(lon), torch.deg2rad(lat))

    def sees(self, direction: Tensor) -> Tensor:
        """Whether the view shows the directions [...,3]; bool [...]."""
        if self.kind == "tile":
            half_tangent = sphere.half_tangents(self.hfov_deg, self.vfov_deg)
            return sphere.tile_contains(self.rotation[None], half_tangent[None], direction)[0]
        lon, lat = (torch.rad2deg(angle) for angle in sphere.lonlat_from_direction(direction))
        gap = ((lon - self.yaw_deg + 180) % 360 - 180).abs()
        return (gap <= self.hfov_deg / 2) & ((lat - self.pitch_deg).abs() <= self.vfov_deg / 2)


def global_record(letterbox: Box = LETTERBOX) -> ViewRecord:
    """The whole panorama."""
    return ViewRecord(0, "global", -1, 0.0, 0.0, 0.0, 360.0, 180.0, -1, -1, letterbox)


def tile_record(
    yaw_deg: float, pitch_deg: float, roll_deg: float, fov_deg: tuple[float, float], cell: tuple[int, int]
) -> ViewRecord:
    """A tile, not yet numbered; `fov_deg` is horizontal and vertical."""
    # No -0.0, which is equal to 0.0 but written, and so hashed, otherwise.
    angles = (float(yaw_deg) + 0.0, float(pitch_deg) + 0.0, float(roll_deg) + 0.0)
    return ViewRecord(0, "tile", -1, *angles, *fov_deg, *cell, FULL)


def crop_record(
    box: tuple[int, int, int, int], erp_size: tuple[int, int], cell: tuple[int, int]
) -> ViewRecord:
    """A rectangle (left, top, width, height) of the pixels of a panorama of `erp_size` (height, width)."""
    left, top, columns, rows = box
    height, width = erp_size
    yaw = ((left + columns / 2) / width * 360) % 360 - 180
    pitch = (0.5 - (top + rows / 2) / height) * 180
    fov = (columns / width * 360, rows / height * 180)
    return ViewRecord(0, "crop", -1, yaw + 0.0, pitch + 0.0, 0.0, *fov, *cell, FULL)


def letterbox_box(erp_size: tuple[int, int]) -> Box:
    """The part of a square view that a whole picture fills: left, top, right, bottom in [0,1].

    >>> letterbox_box((512, 1024))
    (0.0, 0.25, 1.0, 0.75)
    """
    height, width = erp_size
    x, y = (0.5 - side / max(erp_size) / 2 for side in (width, height))
    return x, y, 1 - x, 1 - y


def numbered(views: Iterable[ViewRecord]) -> tuple[ViewRecord, ...]:
    """The same views with their `view_index`, and the tiles among them with their `tile_id`."""
    result: list[ViewRecord] = []
    tiles = 0
    for index, view in enumerate(views):
        is_tile = view.kind == "tile"
        result.append(replace(view, view_index=index, tile_id=tiles if is_tile else -1))
        tiles += is_tile
    return tuple(result)
