"""Rigged glTF files, and how glTF itself says that their joints move their vertices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.glb import Glb

Array = NDArray[np.float64]


class RigFile(Glb):
    """A glTF document that grows by nodes, skins and skinned meshes."""

    def add_node(self, name: str | None, parent: int | None = None, **fields: Any) -> int:
        """A node with the fields of its place; of a parent, or in the scene."""
        number = self._append("nodes", {**({} if name is None else {"name": name}), **fields})
        if parent is None:
            self.document["scenes"][0]["nodes"].append(number)
        else:
            self.document["nodes"][parent].setdefault("children", []).append(number)
        return number

    def add_skin(self, joints: Sequence[int], bind: Array | None, **fields: Any) -> int:
        """A skin whose joints stood at `bind` [J,4,4]."""
        entry = {"joints": list(joints), **fields}
        if bind is not None:
            entry["inverseBindMatrices"] = self.matrices(np.linalg.inv(bind))
        return self._append("skins", entry)

    def add_mesh(
        self,
        skin: int | None,
        vertices: Array,
        faces: Array,
        sets: Sequence[tuple[Array, Array]],
        targets: Mapping[str, Array] | None = None,
        parent: int | None = None,
        name_of_node: str | None = None,
        fields_of_node: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """A skinned mesh of one surface and a node of it; `sets` hold joints and weights [V,4]."""
        attributes = {"POSITION": self.accessor(vertices.astype(np.float32))}
        for number, (joints, weights) in enumerate(sets):
            attributes[f"JOINTS_{number}"] = self.accessor(joints.astype(np.uint8))
            self.document["accessors"][attributes[f"JOINTS_{number}"]].pop("normalized")
            kept = weights if weights.dtype.kind == "u" else weights.astype(np.float32)
            attributes[f"WEIGHTS_{number}"] = self.accessor(kept)
        primitive = {
            "attributes": attributes,
            "indices": self.accessor(faces.astype(np.uint16).reshape(-1, 1)),
        }
        mesh: dict[str, Any] = {"primitives": [primitive], **fields}
        if targets:
            kept = [self.accessor(values.astype(np.float32)) for values in targets.values()]
            primitive["targets"] = [{"POSITION": number} for number in kept]
            mesh["extras"] = {"targetNames": list(targets)}
        place = {"mesh": self._append("meshes", mesh), **({} if skin is None else {"skin": skin})}
        self.add_node(name_of_node, parent, **place, **(fields_of_node or {}))
        return primitive

    def matrices(self, values: Array) -> int:
        """Matrices [n,4,4], by columns as glTF has them."""
        columns = np.ascontiguousarray(values.transpose(0, 2, 1), dtype=np.float32)
        entry = {"bufferView": self._view(columns.tobytes()), "componentType": 5126, "count": len(values)}
        return self._append("accessors", {**entry, "type": "MAT4"})

    def make_sparse(self, accessor: int, rows: NDArray[Any], values: Array) -> None:
        """Turn an accessor into zeros with some rows of values."""
        entry = self.document["accessors"][accessor]
        del entry["bufferView"]
        entry["sparse"] = {
            "count": len(rows),
            "indices": {"bufferView": self._view(rows.astype(np.uint16).tobytes()), "componentType": 5123},
            "values": {"bufferView": self._view(values.astype(np.float32).tobytes())},
        }


def placed(
    rotation: Array | None = None, translation: Sequence[float] = (0, 0, 0), scale: float = 1.0
) -> Array:
    """[4,4] of a turn by the axis-angle vector `rotation`, a scale and a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = scale * turn(np.zeros(3) if rotation is None else np.asarray(rotation, float))
    matrix[:3, 3] = translation
    return matrix


def turn(vector: Array) -> Array:
    """The rotation [3,3] of an axis-angle vector, by Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def quaternion(vector: Array) -> list[float]:
    """(x, y, z, w) of an axis-angle vector, as nodes have it."""
    angle = np.linalg.norm(vector)
    if angle == 0:
        return [0.0, 0.0, 0.0, 1.0]
    return [*(np.sin(angle / 2) * vector / angle).tolist(), float(np.cos(angle / 2))]


def skinned_by_gltf(
    vertices: Array, joints: NDArray[Any], weights: Array, inverse_bind: Array, world: Array
) -> Array:
    """sum_k weights_k world_k inverse_bind_k v, vertex by vertex; joints and weights [V,K]."""
    points = np.zeros((len(vertices), 3))
    for number, vertex in enumerate(vertices):
        for joint, weight in zip(joints[number], weights[number], strict=True):
            moved = world[joint] @ inverse_bind[joint] @ np.append(vertex, 1)
            points[number] += weight * moved[:3]
    return points


def rigged_chain(stretch: Array | None = None) -> RigFile:
    """A hip, a knee and a foot in a straight tube of 24 vertices, closed, with two morph targets."""
    file = RigFile()
    bind = np.stack([placed(), placed(None, (1, 0, 0)), placed(None, (3, 0, 0))]) @ (
        np.eye(4) if stretch is None else stretch
    )
    joints = [file.add_node("hip")]
    joints.append(file.add_node("knee", joints[-1], translation=[1.0, 0.0, 0.0]))
    joints.append(file.add_node("foot", joints[-1], translation=[2.0, 0.0, 0.0]))
    angle = 2 * np.pi * np.arange(8) / 8
    around = np.stack((np.zeros(8), np.cos(angle), np.sin(angle)), -1)
    vertices = np.concatenate([0.3 * around + [x, 0, 0] for x in (0.0, 1.0, 3.0)])
    corners = [(8 * ring + k, 8 * ring + (k + 1) % 8) for ring in range(2) for k in range(8)]
    faces = [face for a, b in corners for face in ((a, b, b + 8), (a, b + 8, a + 8))]
    faces += [(0, k + 1, k) for k in range(1, 7)] + [(16, 16 + k, 17 + k) for k in range(1, 7)]
    index, weights = np.zeros((24, 4)), np.tile([0.5, 0.5, 0, 0], (24, 1))
    index[:, 0], index[:, 1] = np.repeat([0, 1, 2], 8), np.repeat([0, 0, 1], 8)
    targets = {"longer": vertices * [0.2, 0, 0], "thicker": vertices * [0, 0.5, 0.5]}
    file.add_mesh(file.add_skin(joints, bind), vertices, np.array(faces), [(index, weights)], targets)
    return file
