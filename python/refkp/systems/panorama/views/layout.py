"""Where the views of a panorama look: the layout as one frozen, hashable object.

The layout is what view rendering, correspondences, losses, metrics and pictures share; nothing else carries
tile geometry. `placement` has the rules that place tiles, `crops` those of the other strategies, `coverage`
reports what a layout sees. Source: spec panorama 2.1 to 2.5 and 14.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.geometry import sphere
from refkp.systems.panorama.views.placement import tile_centres, wrap180
from refkp.systems.panorama.views.records import LETTERBOX, ViewRecord, global_record, numbered, tile_record
from refkp.systems.panorama.views.spec import LayoutSpec, require_fov

__all__ = ["LETTERBOX", "ErpLayout", "ViewRecord", "wrap180"]

_ORDER = ("global", "crop", "tile")


@dataclass(frozen=True)
class ErpLayout:
    """The views of one panorama: at most one global view, then crops, then tiles."""

    views: tuple[ViewRecord, ...]

    def __post_init__(self) -> None:
        if not self.views:
            fail("ErpLayout", "views", "at least one view", "none")
        if [view.view_index for view in self.views] != list(range(len(self.views))):
            indices = [view.view_index for view in self.views]
            fail("ErpLayout", "views", "in the order of their `view_index`", indices)
        kinds = [view.kind for view in self.views]
        if kinds != sorted(kinds, key=_ORDER.index) or kinds.count("global") > 1:
            fail("ErpLayout", "views", "at most one global view, then crops, then tiles", kinds)

    @classmethod
    def build(cls, spec: LayoutSpec | None = None, **parameters: object) -> ErpLayout:
        """The layout of a `LayoutSpec`, or of its fields given as keywords.

        >>> ErpLayout.build(hfov_deg=90.0, overlap=0.5).num_views
        9
        """
        spec = LayoutSpec(**parameters) if spec is None else spec  # type: ignore[arg-type]
        centres = tile_centres(spec)
        return cls.from_angles(
            [centre.yaw_deg for centre in centres],
            [centre.pitch_deg for centre in centres],
            hfov_deg=spec.hfov_deg,
            vfov_deg=spec.vertical_fov_deg,
            cells=[(centre.row, centre.col) for centre in centres],
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
        fov = float(hfov_deg), float(hfov_deg if vfov_deg is None else vfov_deg)
        for name, value in zip(("hfov_deg", "vfov_deg"), fov, strict=True):
            require_fov("ErpLayout.from_angles", name, value)
        rolls = [0.0] * len(yaw_deg) if roll_deg is None else roll_deg
        cells = _cells_by_pitch(pitch_deg) if cells is None else cells
        tiles = [
            tile_record(yaw, pitch, roll, fov, cell)
            for yaw, pitch, roll, cell in zip(yaw_deg, pitch_deg, rolls, cells, strict=True)
        ]
        if not tiles:
            fail("ErpLayout.from_angles", "yaw_deg", "one number for each of at least one tile", "none")
        return cls(numbered([*([global_record()] if global_view else []), *tiles]))

    def jittered(self, degrees: float, *, generator: torch.Generator | None = None) -> ErpLayout:
        """With each tile turned at random: yaw, pitch by up to `degrees`, roll by up to twice that.

        Under one fixed layout a code of the position in the tile alone can satisfy an overlap loss, since the
        correspondences always map the same positions to each other. Jittered layouts take that away.
        """
        turns = degrees * (2 * torch.rand(len(self.tiles), 3, dtype=torch.float64, generator=generator) - 1)
        turned = [
            replace(
                tile,
                yaw_deg=wrap180(tile.yaw_deg + yaw),
                pitch_deg=tile.pitch_deg + pitch,
                roll_deg=tile.roll_deg + 2 * roll,
            )
            for tile, (yaw, pitch, roll) in zip(self.tiles, turns.tolist(), strict=True)
        ]
        return ErpLayout((*self.views[: self.first_tile], *turned))

    @functools.cached_property
    def tiles(self) -> tuple[ViewRecord, ...]:
        """The tile records in the order of their ids; a layout of crops may have none."""
        return tuple(view for view in self.views if view.kind == "tile")

    @property
    def crops(self) -> tuple[ViewRecord, ...]:
        """The views that are rectangles of panorama pixels."""
        return tuple(view for view in self.views if view.kind == "crop")

    @property
    def first_tile(self) -> int:
        """View index of the first tile: the tiles are views[first_tile:]."""
        return self.num_views - len(self.tiles)

    def require_tiles(self, function: str) -> None:
        """Raise ValueError unless there are perspective tiles, which alone have overlaps to compare."""
        if not self.tiles:
            got = f"{self.num_views} views without one"
            remedy = (
                "Use an AnyRes ERP layout (`LayoutSpec`, or the crop strategies anyres_e2p, e2p, cubemap)."
            )
            fail(function, "layout", "one with perspective tiles", got, remedy)

    @property
    def num_views(self) -> int:
        """Number of views, the global one included."""
        return len(self.views)

    @property
    def has_global_view(self) -> bool:
        """Whether the first view is the whole panorama."""
        return self.views[0].kind == "global"

    @functools.cached_property
    def rotations(self) -> Tensor:
        """`world_from_camera` of the tiles [N,3,3] float64."""
        angles = [(tile.yaw_deg, tile.pitch_deg, tile.roll_deg) for tile in self.tiles]
        return sphere.view_rotation(*torch.tensor(angles, dtype=torch.float64).reshape(-1, 3).unbind(-1))

    @functools.cached_property
    def half_tangents(self) -> Tensor:
        """Tangents of half the fields of view of the tiles [N,2] float64, horizontal and vertical."""
        fov = [(tile.hfov_deg, tile.vfov_deg) for tile in self.tiles]
        return sphere.half_tangents(*torch.tensor(fov, dtype=torch.float64).reshape(-1, 2).unbind(-1))

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
        """How many tiles and crops see each pixel of a height x 2 height ERP image; int64 [height, 2 height]."""
        directions = sphere.erp_directions(height, 2 * height)
        count = torch.zeros(height, 2 * height, dtype=torch.int64)
        for view in (*self.crops, *self.tiles):
            count += view.sees(directions)
        return count

    def coverage(self, height: int = 180) -> list[float]:
        """Fraction of the sphere seen by exactly 0, 1, 2, ... tiles or crops; the first is what none sees."""
        multiplicity = self.multiplicity(height)
        latitude = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * math.pi
        weight = latitude.cos()[:, None].expand(multiplicity.shape)
        return (torch.bincount(multiplicity.flatten(), weight.flatten()) / weight.sum()).tolist()


def _cells_by_pitch(pitch_deg: Sequence[float]) -> list[tuple[int, int]]:
    rows = sorted({round(pitch, 1) for pitch in pitch_deg})
    seen = dict.fromkeys(rows, 0)
    cells = []
    for pitch in pitch_deg:
        key = round(pitch, 1)
        cells.append((rows.index(key), seen[key]))
        seen[key] += 1
    return cells
