"""Plays a .glb by numpy as the specification says, and checks how it is built; shares nothing with the writer."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Player:
    """A .glb file with one skinned mesh and one animation."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        assert size % 4 == 0
        self.document: dict[str, Any] = json.loads(data[20 : 20 + size])
        binary, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0"
        assert binary % 4 == 0
        self.binary = data[28 + size :]
        assert len(self.binary) == binary
        self._check()
        self.primitive = self.document["meshes"][0]["primitives"][0]
        self.animation = self.document["animations"][0]
        self.times = self.accessor(self.animation["samplers"][0]["input"])[:, 0]

    def accessor(self, number: int) -> np.ndarray:
        accessor = self.document["accessors"][number]
        view = self.document["bufferViews"][accessor["bufferView"]]
        width, kind = _WIDTHS[accessor["type"]], _TYPES[accessor["componentType"]]
        values = np.frombuffer(self.binary, kind, accessor["count"] * width, view["byteOffset"])
        return values.reshape(-1, width)

    def vertices(self, frame: int) -> np.ndarray:
        """[N,3] in the space of the file at a key frame."""
        document, attributes = self.document, self.primitive["attributes"]
        nodes = self.nodes(frame)
        skin = document["skins"][0]
        bound = self.accessor(skin["inverseBindMatrices"]).astype(float).reshape(-1, 4, 4).transpose(0, 2, 1)
        world = self._globals(nodes)
        joints = np.stack([world[node] for node in skin["joints"]]) @ bound
        points = self.accessor(attributes["POSITION"]).astype(float)
        mesh_node = next(node for node in nodes if "mesh" in node)
        for target, weight in zip(
            self.primitive.get("targets", []), mesh_node.get("weights", []), strict=True
        ):
            points = points + weight * self.accessor(target["POSITION"])
        points = np.concatenate((points, np.ones((len(points), 1))), axis=1)
        total = np.zeros((len(points), 3))
        for number in range(self.num_sets):
            chosen = self.accessor(attributes[f"JOINTS_{number}"])
            weights = self.accessor(attributes[f"WEIGHTS_{number}"]).astype(float)
            total += np.einsum("vk,vkcd,vd->vc", weights, joints[chosen], points)[:, :3]
        return total

    def joints(self, frame: int) -> np.ndarray:
        """[J,3], where the joints stand."""
        world = self._globals(self.nodes(frame))
        return np.stack([world[node][:3, 3] for node in self.document["skins"][0]["joints"]])

    @property
    def world(self) -> np.ndarray:
        """[4,4], of the node above the root joint."""
        return next(_matrix(node) for node in self.document["nodes"] if node["name"] == "world")

    @property
    def num_sets(self) -> int:
        return sum(name.startswith("JOINTS") for name in self.primitive["attributes"])

    def nodes(self, frame: int) -> list[dict[str, Any]]:
        """The nodes with what the animation sets at a key frame."""
        nodes = [dict(node) for node in self.document["nodes"]]
        for channel in self.animation["channels"]:
            values = self.accessor(self.animation["samplers"][channel["sampler"]]["output"]).astype(float)
            target = channel["target"]
            if target["path"] == "weights":
                values = values.reshape(len(self.times), -1)
            nodes[target["node"]][target["path"]] = values[frame]
        return nodes

    def _globals(self, nodes: list[dict[str, Any]]) -> dict[int, np.ndarray]:
        found: dict[int, np.ndarray] = {}
        waiting = [(node, np.eye(4)) for node in self.document["scenes"][self.document["scene"]]["nodes"]]
        while waiting:
            node, above = waiting.pop()
            assert node not in found, "a node with two parents"
            found[node] = above @ _matrix(nodes[node])
            waiting += [(child, found[node]) for child in nodes[node].get("children", [])]
        assert len(found) == len(nodes), "a node that no scene shows"
        return found

    def _check(self) -> None:
        """Views are aligned, apart and inside the buffer; accessors inside their views, with true bounds."""
        document = self.document
        assert document["asset"]["version"] == "2.0"
        assert document["buffers"] == [{"byteLength": len(self.binary)}]
        end = 0
        for view in document["bufferViews"]:
            assert view["byteOffset"] % 4 == 0
            assert view["byteOffset"] >= end
            end = view["byteOffset"] + view["byteLength"]
        assert end <= len(self.binary)
        for number, accessor in enumerate(document["accessors"]):
            values = self.accessor(number)
            assert values.nbytes == document["bufferViews"][accessor["bufferView"]]["byteLength"]
            assert np.isfinite(values).all()
            if "min" in accessor:
                np.testing.assert_array_equal(values.min(0), np.array(accessor["min"], values.dtype))
                np.testing.assert_array_equal(values.max(0), np.array(accessor["max"], values.dtype))
        meshes = document["meshes"][0]["primitives"]
        bounded = [
            part["POSITION"] for mesh in meshes for part in (mesh["attributes"], *mesh.get("targets", []))
        ]
        bounded += [sampler["input"] for sampler in document["animations"][0]["samplers"]]
        assert all("min" in document["accessors"][number] for number in bounded)


def _matrix(node: dict[str, Any]) -> np.ndarray:
    x, y, z, w = np.asarray(node.get("rotation", (0, 0, 0, 1)), float) / np.linalg.norm(
        node.get("rotation", 1)
    )
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.asarray(node.get("scale", (1, 1, 1)))
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix
