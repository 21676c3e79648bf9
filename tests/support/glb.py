"""Files in GLB, made part by part."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BOX = np.array([[x, y, z] for x in (-40, 40) for y in (-30, 30) for z in (-20, 20)], float)
SIDES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))  # -x x -y y -z z
CORNERS_UV = ((0, 0), (1, 0), (1, 1), (0, 1))


class Glb:
    """A glTF document that grows by parts; in metres, a box by default."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}]}
        for name in ("nodes", "meshes", "accessors", "bufferViews", "materials", "images", "textures"):
            self.document[name] = []
        self.binary = b""

    def add_part(
        self,
        material: Mapping[str, Any] | None = None,
        node: Mapping[str, Any] | None = None,
        sides: Sequence[int] = range(6),
        uv_scale: float = 1.0,
        **attributes: NDArray[Any],
    ) -> None:
        """Sides of the box, with a material, further attributes, and the fields of their node."""
        corners = np.array([BOX[SIDES[side][corner]] for side in sides for corner in range(4)]) / 1000
        uv = np.tile(np.array(CORNERS_UV, float), (len(sides), 1)) * uv_scale
        uv[:, 1] = 1 - uv[:, 1]
        faces = np.concatenate([4 * side + np.array([0, 1, 2, 0, 2, 3]) for side in range(len(sides))])
        given = {"POSITION": corners.astype(np.float32), "TEXCOORD_0": uv.astype(np.float32), **attributes}
        primitive = {
            "attributes": {name: self.accessor(values) for name, values in given.items()},
            "indices": self.accessor(faces.astype(np.uint16)[:, None]),
        }
        if material is not None:
            primitive["material"] = self._append("materials", dict(material))
        mesh = self._append("meshes", {"primitives": [primitive]})
        self.document["scenes"][0]["nodes"].append(self._append("nodes", {"mesh": mesh, **(node or {})}))

    def add_texture(self, data: bytes | None = None, uri: str | None = None) -> int:
        """A texture of a picture within the file, or of one beside it."""
        image = {"uri": uri} if data is None else {"bufferView": self._view(data), "mimeType": "image/png"}
        return self._append("textures", {"source": self._append("images", image)})

    def accessor(self, values: NDArray[Any]) -> int:
        """Values [n,width]; bytes and shorts beside indices stand for [0,1]."""
        kinds = {"float32": 5126, "uint16": 5123, "uint8": 5121}
        entry = {
            "bufferView": self._view(values.tobytes()),
            "componentType": kinds[str(values.dtype)],
            "count": len(values),
            "type": {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}[values.shape[1]],
        }
        if values.shape[1] > 1 and values.dtype != np.float32:
            entry["normalized"] = True
        return self._append("accessors", entry)

    def save(self, path: Path) -> Path:
        """Write it as .glb."""
        self.document["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(self.document).encode()
        text += b" " * (-len(text) % 4)
        body = struct.pack("<II", len(text), 0x4E4F534A) + text
        body += struct.pack("<II", len(self.binary), 0x004E4942) + self.binary
        path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body)
        return path

    def _view(self, data: bytes) -> int:
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        self.binary += data + b"\0" * (-len(data) % 4)
        return self._append("bufferViews", view)

    def _append(self, name: str, entry: dict[str, Any]) -> int:
        self.document.setdefault(name, []).append(entry)
        return len(self.document[name]) - 1
