"""The meshes of a data set, their sizes and symmetries. Source: spec pose 2.4 and 7.1.

    BOP        models/obj_000001.ply (or .obj, .glb), models/models_info.json: id -> sizes, symmetries
    MegaPose   models/NAME/... one mesh per object in any unit, models_info.json: list of {obj_id, gso_id}

BOP meshes are in millimetres; a GLB may be in metres, as its standard says: the diameter in the table decides. Where
there is no `models`, `models_cad` is taken. A mesh of the second kind is centred by its bounding box, scaled into
[-1,1] and multiplied by 0.1 m.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp._files import visible_files
from refkp.data.meshes import Mesh, load_mesh
from refkp.systems.pose.data.json_values import (
    entry_in,
    list_in,
    number_in,
    numbers_in,
    parse_json,
    table_in,
    whole_in,
)
from refkp.systems.pose.data.records import box_middle
from refkp.systems.pose.symmetry import ContinuousSymmetry

_SUFFIXES = (".ply", ".obj", ".glb")
_FOLDERS = ("models", "models_cad")
_SAME_SIZE = (
    1.5  # the measured and the stated diameter are at most this factor apart, the units of a GLB are 1000
)
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
        root: the folder that holds `models/`, or `models_cad/`.

    Attributes:
        obj_ids: sorted.

    Raises:
        ValueError: no `models_info.json`, or one of another form.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        named = (self.root / name for name in _FOLDERS)
        self.folder = next((folder for folder in named if folder.is_dir()), self.root / _FOLDERS[0])
        table = self._read_table()
        if isinstance(table, dict):
            pairs = list(table.items())
        else:
            pairs = [(entry_in(entry, "obj_id", self._table), entry) for entry in list_in(table, self._table)]
        where = f"{self._table}: the number of an object"
        self._entries = {whole_in(obj_id, where): table_in(entry, self._table) for obj_id, entry in pairs}
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
            elif path.suffix.lower() == ".glb":
                self._meshes[obj_id] = _mesh_of_size(path, self._diameter(obj_id))
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
            found = [path for path in visible_files(place) if path.suffix.lower() in _SUFFIXES[:2]]
        else:
            place = self.folder / f"obj_{obj_id:06d}"
            found = [path for suffix in _SUFFIXES if (path := place.with_suffix(suffix)).is_file()]
        if len(found) != 1:
            remedy = f"Leave one file for each object, {', '.join(_SUFFIXES)}."
            fail("ModelSet", "root", f"one with a single mesh at {place}", f"{len(found)} of them", remedy)
        return found[0]

    def info(self, obj_id: int) -> ModelInfo:
        """Diameter and symmetries; a set without them has its diameters measured and no symmetries."""
        if obj_id not in self._infos:
            self._infos[obj_id] = self._info(obj_id)
        return self._infos[obj_id]

    def centre(self, obj_id: int) -> Tensor:
        """float64 [3], the middle of an object's box in its frame, millimetres."""
        centre = None if self._is_normalised else box_middle(self._entry(obj_id), self._table)
        return torch.from_numpy(self.mesh(obj_id).centre) if centre is None else centre

    def _info(self, obj_id: int) -> ModelInfo:
        entry = self._entry(obj_id)
        if self._is_normalised:
            return ModelInfo(self.mesh(obj_id).diameter, torch.zeros(0, 4, 4, dtype=torch.float64), ())
        where = f"{self._table}: object {obj_id}"
        continuous = tuple(
            ContinuousSymmetry(
                *(
                    numbers_in(entry_in(item, name, where), (3,), f"{where}: `{name}`")
                    for name in ("axis", "offset")
                )
            )
            for item in list_in(entry.get("symmetries_continuous", []), f"{where}: `symmetries_continuous`")
        )
        rows = list_in(entry.get("symmetries_discrete", []), f"{where}: `symmetries_discrete`")
        discrete = numbers_in(rows, (len(rows), 4, 4), f"{where}: `symmetries_discrete`")
        return ModelInfo(self._diameter(obj_id), discrete, continuous)

    def _diameter(self, obj_id: int) -> float:
        entry = self._entry(obj_id)
        if "diameter" not in entry:
            got = f"object {obj_id} with {sorted(entry)}"
            fail("ModelSet", "models_info.json", "a table with `diameter`", got)
        diameter = number_in(entry["diameter"], f"{self._table}: `diameter` of object {obj_id}")
        if diameter <= 0:
            fail("ModelSet", self._table, f"a table with `diameter` above 0 of object {obj_id}", diameter)
        return diameter

    def _entry(self, obj_id: int) -> Mapping[str, Any]:
        if obj_id not in self._entries:
            fail("ModelSet", "obj_id", f"one of the {len(self.obj_ids)} objects of {self.root}", obj_id)
        return self._entries[obj_id]

    def _read_table(self) -> Any:
        for path in (self.folder / "models_info.json", self.root / "models_info.json"):
            if path.is_file():
                self._table = str(path)
                return parse_json(path.read_bytes(), self._table)
        return fail("ModelSet", "root", "a folder with models/models_info.json", repr(str(self.root)))


def _mesh_of_size(path: Path, diameter: float) -> Mesh:
    """A mesh in millimetres or metres, whichever gives its stated diameter."""
    mesh = load_mesh(path, unit="mm", check_extent=False)
    for scale in (1.0, 1000.0):
        if 1 / _SAME_SIZE < mesh.diameter * scale / diameter < _SAME_SIZE:
            return replace(mesh, vertices=mesh.vertices * scale)
    got = f"{mesh.diameter:g} in the unit of {str(path)!r}"
    return fail(
        "ModelSet", "models_info.json", f"of meshes {diameter:g} mm large, in millimetres or metres", got
    )


def normalise_mesh(mesh: Mesh) -> Mesh:
    """The mesh centred by its bounding box, its longest side from -100 to 100 mm."""
    centred = mesh.centred()
    return replace(centred, vertices=centred.vertices * (2 * _NORMALISED_HALF_MM / centred.extent.max()))


def info_entry(mesh: Mesh) -> dict[str, float]:
    """The entry of a mesh in `models_info.json`, without symmetries."""
    named = {f"min_{axis}": float(value) for axis, value in zip("xyz", mesh.bounds[0], strict=True)}
    sizes = {f"size_{axis}": float(value) for axis, value in zip("xyz", mesh.extent, strict=True)}
    return {"diameter": float(mesh.diameter), **named, **sizes}
