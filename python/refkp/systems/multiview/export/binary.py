"""The container of glTF: arrays in one buffer, told by accessors, in a .glb file.

Source: Khronos Group, "glTF 2.0 Specification", sections 3.6 and 4.4.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np

from refkp._files import whole_file

Kind = Literal["SCALAR", "VEC3", "VEC4", "MAT4"]

_COMPONENTS = {"float32": 5126, "uint8": 5121, "uint16": 5123, "uint32": 5125}
_VERTICES, _FACES = 34962, 34963
_MAGIC, _VERSION, _JSON, _BINARY = 0x46546C67, 2, 0x4E4F534A, 0x004E4942


class Buffer:
    """Arrays one after the other, each at a multiple of four bytes."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, values: np.ndarray, kind: Kind, *, bounds: bool = False) -> int:
        """Append values [n] or [n,k]; the number of their accessor, which tells their `bounds` if asked."""
        accessor: dict[str, Any] = {
            "bufferView": len(self.views),
            "componentType": _COMPONENTS[str(values.dtype)],
            "count": len(values),
            "type": kind,
        }
        if bounds:
            rows = values.reshape(len(values), -1)
            accessor |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": values.nbytes})
        self.accessors.append(accessor)
        self.data += values.astype(values.dtype.newbyteorder("<")).tobytes()
        self.data += bytes(-len(self.data) % 4)
        return len(self.accessors) - 1

    def add_floats(self, values: np.ndarray, kind: Kind, *, bounds: bool = False) -> int:
        """`add` in float32."""
        return self.add(values.astype(np.float32), kind, bounds=bounds)

    def add_vertices(self, values: np.ndarray, kind: Kind, *, bounds: bool = False) -> int:
        """`add` of an attribute of vertices."""
        number = self.add(values, kind, bounds=bounds)
        self.views[-1]["target"] = _VERTICES
        return number

    def add_faces(self, faces: np.ndarray) -> int:
        """`add` of the corners of triangles [F,3]."""
        number = self.add(faces.astype(np.uint32).ravel(), "SCALAR")
        self.views[-1]["target"] = _FACES
        return number

    def write(self, path: Path, document: dict[str, Any]) -> None:
        """Write the .glb of a document that speaks of these accessors."""
        arrays = {
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.data)}],
        }
        text = json.dumps({**document, **arrays}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        length = 12 + 8 + len(text) + 8 + len(self.data)
        with whole_file(path) as unfinished, unfinished.open("wb") as file:
            file.write(struct.pack("<III", _MAGIC, _VERSION, length))
            file.write(struct.pack("<II", len(text), _JSON) + text)
            file.write(struct.pack("<II", len(self.data), _BINARY) + self.data)
