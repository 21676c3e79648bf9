"""The meshes of a data set, their sizes and symmetries. Source: spec pose 2.4 and 7.1.

    BOP        models/obj_000001.ply (or .obj) in millimetres, models/models_info.json: id -> sizes, symmetries
    MegaPose   models/NAME/... one mesh per object in any unit, models_info.json: list of {obj_id, gso_id}

A mesh of the second kind is centred by its bounding box, scaled into [-1,1] and multiplied by 0.1 m.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.data.meshes import Mesh, load_mesh
from refkp.systems.pose.data.records import box_middle, parse_json
from refkp.systems.pose.symmetry import ContinuousSymmetry

_SUFFIXES = (".ply", ".obj")
_NORMALISED_HALF_MM = 100.0  # half the longest side of a normalised mesh
_NAME_FIELDS = ("gso_id", "shapenet_id", "name")


class ModelInfo(NamedTuple):
    """Size and symmetries of an object."""

    diameter: float  # largest distance of two vertices, millimetres
    symmetries_discrete: Tensor  # float64 [n,4,4], without the identity
    symmetries_continuous: tuple[ContinuousSymmetry, ...]


class ModelSet:
    """The models of a data set, each mesh loaded when it is first asked for.

    Args:
        root: the folder that holds `models/`.

    Attributes:
        obj_ids: sorted.

    Raises:
        ValueError: no `models_info.json`, or one of another form.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.folder = self.root / "models"
        table = self._read_table()
        self._entries: dict[int, Mapping[str, Any]] = {}
        if isinstance(table, dict):
            self._entries = {int(obj_id): entry for obj_id, entry in table.items()}
        elif isinstance(table, list):
            self._entries = {int(entry["obj_id"]): entry for entry in table}
        if not self._entries:
            fail("ModelSet", "root", "a place whose models_info.json names objects", repr(str(root)))
        self._is_normalised = isinstance(table, list)
        self.obj_ids = tuple(sorted(self._entries))
        self._meshes: dict[int, Mesh] = {}
        self._infos: dict[int, ModelInfo] = {}

    def mesh(self, obj_id: int) -> Mesh:
        """The mesh of an object in millimetres, in the frame that the poses of the set are in."""
        if obj_id not in self._meshes:
            path = self.mesh_path(obj_id)
            if self._is_normalised:
                self._meshes[obj_id] = normalise_mesh(load_mesh(path, unit="m", check_extent=False))
            else:
                self._meshes[obj_id] = load_mesh(path, unit="mm")
        return self._meshes[obj_id]

    def mesh_path(self, obj_id: int) -> Path:
        """The file of a mesh.

        Raises:
            ValueError: an unknown object, or not exactly one mesh where its should be.
        """
        entry = self._entry(obj_id)
        if self._is_normalised:
            name = next((str(entry[field]) for field in _NAME_FIELDS if field in entry), None)
            if name is None:
                fail("ModelSet", "models_info.json", f"a list with one of {_NAME_FIELDS}", sorted(entry))
            place = self.folder / name
            found = sorted(path for path in place.rglob("*") if path.suffix.lower() in _SUFFIXES)
        else:
            place = self.folder / f"obj_{obj_id:06d}"
            found = [path for suffix in _SUFFIXES if (path := place.with_suffix(suffix)).is_file()]
        if len(found) != 1:
            remedy = "Leave one .ply or .obj file for each object."
            fail("ModelSet", "root", f"one with a single mesh at {place}", f"{len(found)} of them", remedy)
        return found[0]

    def info(self, obj_id: int) -> ModelInfo:
        """Diameter and symmetries; a set without them has its diameters measured and no symmetries."""
        if obj_id not in self._infos:
            self._infos[obj_id] = self._info(obj_id)
        return self._infos[obj_id]

    def centre(self, obj_id: int) -> Tensor:
        """float64 [3], the middle of an object's box in its frame, millimetres."""
        centre = None if self._is_normalised else box_middle(self._entry(obj_id))
        return torch.from_numpy(self.mesh(obj_id).centre) if centre is None else centre

    def _info(self, obj_id: int) -> ModelInfo:
        entry = self._entry(obj_id)
        if self._is_normalised:
            return ModelInfo(self.mesh(obj_id).diameter, _matrices([]), ())
        if "diameter" not in entry:
            fail(
                "ModelSet",
                "models_info.json",
                "a table with `diameter`",
                f"object {obj_id} with {sorted(entry)}",
            )
        continuous = tuple(
            ContinuousSymmetry(
                *(torch.tensor(item[name], dtype=torch.float64) for name in ("axis", "offset"))
            )
            for item in entry.get("symmetries_continuous", [])
        )
        return ModelInfo(
            float(entry["diameter"]), _matrices(entry.get("symmetries_discrete", [])), continuous
        )

    def _entry(self, obj_id: int) -> Mapping[str, Any]:
        if obj_id not in self._entries:
            fail("ModelSet", "obj_id", f"one of the {len(self.obj_ids)} objects of {self.root}", obj_id)
        return self._entries[obj_id]

    def _read_table(self) -> Any:
        for path in (self.folder / "models_info.json", self.root / "models_info.json"):
            if path.is_file():
                return parse_json(path.read_bytes(), str(path))
        return fail("ModelSet", "root", "a folder with models/models_info.json", repr(str(self.root)))


def normalise_mesh(mesh: Mesh) -> Mesh:
    """The mesh centred by its bounding box, its longest side from -100 to 100 mm."""
    centred = mesh.centred()
    return replace(centred, vertices=centred.vertices * (2 * _NORMALISED_HALF_MM / centred.extent.max()))


def info_entry(mesh: Mesh) -> dict[str, float]:
    """The entry of a mesh in `models_info.json`, without symmetries."""
    named = {f"min_{axis}": float(value) for axis, value in zip("xyz", mesh.bounds[0], strict=True)}
    sizes = {f"size_{axis}": float(value) for axis, value in zip("xyz", mesh.extent, strict=True)}
    return {"diameter": float(mesh.diameter), **named, **sizes}


def _matrices(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 4, 4)
