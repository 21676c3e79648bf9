"""Where the views of a panorama look: the AnyRes ERP tile layout as one frozen, hashable object.

The layout is what view rendering, correspondences, losses, metrics and pictures share; nothing else carries
tile geometry. Source: spec panorama 2.1 to 2.5 and 14.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from refkp._checks import fail, require_choice
from refkp.geometry import sphere

#: Part of the square global view that a letterboxed 2:1 panorama fills: left, top, right, bottom in [0,1].
LETTERBOX = (0.0, 0.25, 1.0, 0.75)

_EDGE = 1e-9  # degrees; a tile that ends exactly on the border of the range counts as inside


@dataclass(frozen=True)
class LayoutSpec:
    """Parameters of a tile layout: the `layout:` section of a configuration.

    Args:
        mode: the rule that places the tiles; "original" is the one of the AnyRes ERP builder.
        hfov_deg: horizontal field of view of a tile, in (0,180).
        vfov_deg: vertical field of view; None makes square tiles.
        overlap: requested overlap of neighbours in [0,1); their step is hfov (1 - overlap).
        closed_loop_yaw: divide 360 degrees uniformly, so that the last tile meets the first.
        yaw_phase_deg: shift of all yaw centres.
        include_seam_center: put a tile at yaw -180 first unless one is there.
        pitch_min_deg, pitch_max_deg: range that the tile EDGES cover; equal values give one row there.
        pitch_full_span: clip the pitch range to +-(90 - cap_deg).
        cap_deg: the polar cap left out by `pitch_full_span`.
        global_view: put the letterboxed panorama before the tiles.
    """

    mode: Literal["original"] = "original"
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
    global_view: bool = True

    def __post_init__(self) -> None:
        require_choice("LayoutSpec", "mode", self.mode, ("original",))
        for name, fov in (("hfov_deg", self.hfov_deg), ("vfov_deg", self.vertical_fov_deg)):
            _require_fov("LayoutSpec", name, fov)
        if not 0 <= self.overlap < 1:
            fail("LayoutSpec", "overlap", "in [0,1)", self.overlap)
        if not self.pitch_min_deg <= self.pitch_max_deg:
            got = f"{self.pitch_min_deg} and {self.pitch_max_deg}"
            fail("LayoutSpec", "pitch_min_deg", "at most `pitch_max_deg`", got)

    @property
    def vertical_fov_deg(self) -> float:
        """The vertical field of view in degrees, `hfov_deg` for square tiles."""
        return self.hfov_deg if self.vfov_deg is None else self.vfov_deg


@dataclass(frozen=True)
class ViewRecord:
    """One view of a layout. The kind is stated, never inferred from a number."""

    view_index: int  # place in the views tensor
    kind: Literal["global", "tile"]
    tile_id: int  # -1 for the global view
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    hfov_deg: float
    vfov_deg: float
    row: int  # pitch row, -1 for the global view
    col: int  # place in the row, -1 for the global view
    letterbox: tuple[float, float, float, float]  # filled part of the view: left, top, right, bottom in [0,1]

    @property
    def rotation(self) -> Tensor:
        """`world_from_camera` [3,3] float64."""
        return sphere.view_rotation(self.yaw_deg, self.pitch_deg, self.roll_deg)

    @property
    def forward_xyz(self) -> Tensor:
        """The viewing direction (cos p sin y, sin p, cos p cos y) [3] float64; x right, y up, z forward."""
        return self.rotation[:, 2]


@dataclass(frozen=True)
class ErpLayout:
    """The views of one panorama: an optional global view, then the tiles."""

    views: tuple[ViewRecord, ...]

    def __post_init__(self) -> None:
        if not self.tiles:
            fail("ErpLayout", "views", "at least one tile", "none", _ZERO_TILES)
        if [view.view_index for view in self.views] != list(range(len(self.views))):
            fail(
                "ErpLayout", "views", "in the order of their `view_index`", [v.view_index for v in self.views]
            )

    @classmethod
    def build(cls, spec: LayoutSpec | None = None, **parameters: object) -> ErpLayout:
        """The layout of a `LayoutSpec`, or of its fields given as keywords.

        >>> ErpLayout.build(hfov_deg=90.0, overlap=0.5).num_views
        9
        """
        spec = LayoutSpec(**parameters) if spec is None else spec  # type: ignore[arg-type]
        yaws, pitches = _yaw_centres(spec), _pitch_centres(spec)
        if not pitches:
            got = f"a range of {spec.pitch_max_deg - spec.pitch_min_deg:g} under a vertical field of "
            fail(
                "ErpLayout",
                "pitch range",
                "room for one row",
                got + f"{spec.vertical_fov_deg:g}",
                _ZERO_TILES,
            )
        cells = [(row, col) for row in range(len(pitches)) for col in range(len(yaws))]
        return cls.from_angles(
            [yaws[col] for _, col in cells],
            [pitches[row] for row, _ in cells],
            hfov_deg=spec.hfov_deg,
            vfov_deg=spec.vertical_fov_deg,
            cells=cells,
            global_view=spec.global_view,
        )

    @classmethod
    def from_angles(
        cls,
        yaw_deg: Sequence[float],
        pitch_deg: Sequence[float],
        roll_deg: Sequence[float] | None = None,
        *,
        hfov_deg: float,
        vfov_deg: float | None = None,
        cells: Sequence[tuple[int, int]] | None = None,
        global_view: bool = False,
    ) -> ErpLayout:
        """A layout of tiles at given angles in degrees, in the given order.

        `cells` names the (row, column) of each tile; without it, tiles of one pitch (to 0.1 degrees) form a
        row.
        """
        hfov_deg, vfov_deg = float(hfov_deg), float(hfov_deg if vfov_deg is None else vfov_deg)
        _require_fov("ErpLayout.from_angles", "hfov_deg", hfov_deg)
        _require_fov("ErpLayout.from_angles", "vfov_deg", vfov_deg)
        rolls = [0.0] * len(yaw_deg) if roll_deg is None else roll_deg
        cells = _cells_by_pitch(pitch_deg) if cells is None else cells
        first = 1 if global_view else 0
        tiles = [
            ViewRecord(
                first + tile,
                "tile",
                tile,
                float(yaw) + 0.0,  # no -0.0, which is equal to 0.0 but written, and so hashed, otherwise
                float(pitch) + 0.0,
                float(roll) + 0.0,
                hfov_deg,
                vfov_deg,
                *cell,
                _FULL,
            )
            for tile, (yaw, pitch, roll, cell) in enumerate(
                zip(yaw_deg, pitch_deg, rolls, cells, strict=True)
            )
        ]
        return cls((*([_GLOBAL] if global_view else []), *tiles))

    def jittered(self, degrees: float) -> ErpLayout:
        """With each tile turned at random: yaw, pitch by up to `degrees`, roll by up to twice that.

        Under one fixed layout a code of the position in the tile alone can satisfy an overlap loss, since the
        correspondences always map the same positions to each other. Jittered layouts take that away.
        """
        turns = degrees * (2 * torch.rand(len(self.tiles), 3, dtype=torch.float64) - 1)
        turned = [
            replace(
                tile,
                yaw_deg=wrap180(tile.yaw_deg + yaw),
                pitch_deg=tile.pitch_deg + pitch,
                roll_deg=tile.roll_deg + 2 * roll,
            )
            for tile, (yaw, pitch, roll) in zip(self.tiles, turns.tolist(), strict=True)
        ]
        return ErpLayout((*self.views[: self.num_views - len(turned)], *turned))

    @functools.cached_property
    def tiles(self) -> tuple[ViewRecord, ...]:
        """The tile records in the order of their ids."""
        return tuple(view for view in self.views if view.kind == "tile")

    @property
    def num_views(self) -> int:
        """Number of views, the global one included."""
        return len(self.views)

    @property
    def has_global_view(self) -> bool:
        """Whether the first view is the letterboxed panorama."""
        return self.views[0].kind == "global"

    @functools.cached_property
    def rotations(self) -> Tensor:
        """`world_from_camera` of the tiles [N,3,3] float64."""
        angles = torch.tensor(
            [(tile.yaw_deg, tile.pitch_deg, tile.roll_deg) for tile in self.tiles], dtype=torch.float64
        )
        return sphere.view_rotation(*angles.unbind(-1))

    @functools.cached_property
    def half_tangents(self) -> Tensor:
        """Tangents of half the fields of view of the tiles [N,2] float64, horizontal and vertical."""
        fov = torch.tensor([(tile.hfov_deg, tile.vfov_deg) for tile in self.tiles], dtype=torch.float64)
        return sphere.half_tangents(*fov.unbind(-1))

    @functools.cached_property
    def hash(self) -> str:
        """A short digest of the views; equal layouts have equal digests on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The layout as JSON text; `from_json` gives back an equal layout."""
        return json.dumps({"schema": 1, "views": [asdict(view) for view in self.views]})

    @classmethod
    def from_json(cls, text: str) -> ErpLayout:
        """The layout that `to_json` wrote."""
        document = json.loads(text)
        if document.get("schema") != 1:
            fail("ErpLayout.from_json", "schema", "1", document.get("schema"))
        records = ({**view, "letterbox": tuple(view["letterbox"])} for view in document["views"])
        return cls(tuple(ViewRecord(**record) for record in records))

    def multiplicity(self, height: int = 180) -> Tensor:
        """How many tiles see each pixel of a height x 2 height ERP image; int64 [height, 2 height]."""
        directions = sphere.erp_directions(height, 2 * height)
        return sphere.tile_contains(self.rotations, self.half_tangents, directions).sum(0)

    def coverage(self, height: int = 180) -> list[float]:
        """Fraction of the sphere seen by exactly 0, 1, 2, ... tiles; the first is what no tile sees."""
        multiplicity = self.multiplicity(height)
        latitude = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * math.pi
        weight = latitude.cos()[:, None].expand(multiplicity.shape)
        return (torch.bincount(multiplicity.flatten(), weight.flatten()) / weight.sum()).tolist()


_ZERO_TILES = "Widen the pitch range or make the field of view smaller."
_FULL = (0.0, 0.0, 1.0, 1.0)
_GLOBAL = ViewRecord(0, "global", -1, 0.0, 0.0, 0.0, 360.0, 180.0, -1, -1, LETTERBOX)


def _require_fov(function: str, name: str, fov_deg: float) -> None:
    if not 0 < fov_deg < 180:
        fail(function, name, "inside (0,180)", fov_deg)


def wrap180(angle_deg: float) -> float:
    """The same direction as `angle_deg`, in [-180,180)."""
    return (angle_deg + 180.0) % 360.0 - 180.0


def _yaw_centres(spec: LayoutSpec) -> list[float]:
    step = spec.hfov_deg * (1 - spec.overlap)
    if spec.closed_loop_yaw:
        count = math.ceil(360.0 / step)
        centres = [wrap180(-180.0 + spec.yaw_phase_deg + k * 360.0 / count) for k in range(count)]
        centres.sort(key=lambda yaw: yaw % 360.0)
    else:
        half = spec.hfov_deg / 2
        centres = [wrap180(c + spec.yaw_phase_deg) for c in _march(-180.0 + half, 180.0 - half + _EDGE, step)]
    if spec.include_seam_center and all(abs(wrap180(yaw + 180.0)) > _EDGE for yaw in centres):
        centres.insert(0, -180.0)
    return centres


def _pitch_centres(spec: LayoutSpec) -> list[float]:
    low, high = spec.pitch_min_deg, spec.pitch_max_deg
    if spec.pitch_full_span:
        limit = 90.0 - spec.cap_deg
        low, high = max(low, -limit), min(high, limit)
    if low == high:
        return [low]
    fov = spec.vertical_fov_deg
    return _march(low + fov / 2, high - fov / 2 + _EDGE, fov * (1 - spec.overlap))


def _march(start: float, end: float, step: float) -> list[float]:
    """start, start + step, ... up to `end`."""
    centres = []
    while start <= end:
        centres.append(start)
        start += step
    return centres


def _cells_by_pitch(pitch_deg: Sequence[float]) -> list[tuple[int, int]]:
    rows = sorted({round(pitch, 1) for pitch in pitch_deg})
    seen = dict.fromkeys(rows, 0)
    cells = []
    for pitch in pitch_deg:
        key = round(pitch, 1)
        cells.append((rows.index(key), seen[key]))
        seen[key] += 1
    return cells
