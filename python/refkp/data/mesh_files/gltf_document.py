"""The document of a glTF file: its JSON, its buffers, and the numbers in them.

Source: Khronos Group, "glTF 2.0 Specification", sections 3.6, 3.7.2 and 4.4.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TYPES = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression")
_TRIANGLES, _FAN = 4, 6
_MOST_ROWS = 2**28  # of an accessor; more are a mistake, which may have no bytes behind it

#: What values of the wrong kind, size or place in a document lead to.
_STRAY = (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, struct.error)


@contextmanager
def gltf_document(path: Path, reader: str) -> Iterator[GltfDocument]:
    """The document of a .gltf or .glb file; what is found to be broken in it becomes an error that names the file.

    Args:
        path: the file; buffers are looked up beside it.
        reader: the function that errors name.

    Raises:
        ValueError: the file is broken, or its geometry is compressed.
    """
    try:
        yield GltfDocument(path, reader)
    except _STRAY as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise  # it was told already
        raise ValueError(f"{reader}: {path} is no valid glTF: {error!r}. Export it again.") from error


class GltfDocument:
    """A document with its buffers, each read once."""

    def __init__(self, path: Path, reader: str) -> None:
        self.path, self._reader = path, reader
        self.json, self._binary = self._opened()
        self._buffers: dict[int, bytes] = {}

    def accessor(self, index: int) -> Array:
        """[n,width] of float64; integers that stand for [0,1] or [-1,1] become that."""
        accessor = self.json["accessors"][index]
        kind, width, count = (
            np.dtype(_TYPES[accessor["componentType"]]),
            _WIDTHS[accessor["type"]],
            accessor["count"],
        )
        if not 0 <= count <= _MOST_ROWS:
            raise IndexError(f"accessor {index} of {count} rows")
        values = np.zeros((count, width), kind)
        if "bufferView" in accessor:
            values = self._rows(accessor["bufferView"], accessor.get("byteOffset", 0), kind, count, width)
        if "sparse" in accessor:
            values = self._with_sparse(values.copy(), accessor["sparse"])
        numbers = values.astype(np.float64)
        if accessor.get("normalized", False):
            numbers = np.maximum(numbers / float(2 ** (8 * kind.itemsize - (kind.kind == "i")) - 1), -1.0)
        return numbers

    def faces(self, primitive: dict[str, Any]) -> NDArray[np.int64] | None:
        """The triangles [F,3] of a primitive; None for points and lines."""
        mode, attributes = primitive.get("mode", _TRIANGLES), primitive["attributes"]
        if mode < _TRIANGLES or "POSITION" not in attributes:
            return None
        if "indices" in primitive:
            return _triangles(self.accessor(primitive["indices"])[:, 0].astype(np.int64), mode)
        return _triangles(np.arange(len(self.accessor(attributes["POSITION"]))), mode)

    def view(self, index: int) -> bytes:
        """The bytes of a buffer view."""
        view = self.json["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return self._buffer(view["buffer"])[start : start + view["byteLength"]]

    def content(self, uri: str) -> bytes | None:
        """The bytes of a uri within the file or beside it; None if there is no such file."""
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2], validate=True)
            except binascii.Error as error:
                raise ValueError(
                    f"{self._reader}: {self.path} is no valid glTF: {error}. Export it again."
                ) from error
        file = self.path.parent / unquote(uri).replace("\\", "/")
        return file.read_bytes() if file.is_file() else None

    def _opened(self) -> tuple[dict[str, Any], bytes]:
        """The JSON of the file, and the binary chunk that a .glb holds."""
        data, binary = self.path.read_bytes(), b""
        text = data
        if data[:4] == b"glTF":
            chunks = dict(_chunks(data))
            text, binary = chunks.get(_JSON, b""), chunks.get(_BINARY, b"")
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ValueError(
                f"{self._reader}: {self.path} is no valid glTF: {error}. Export it again."
            ) from error
        if not isinstance(document, dict):
            told = "is no valid glTF: no table of its parts. Export it again."
            raise ValueError(f"{self._reader}: {self.path} {told}")
        compressed = [name for name in document.get("extensionsRequired", []) if name in _COMPRESSED]
        if compressed:
            told = f"is compressed by {compressed[0]}. Export it without compression."
            raise ValueError(f"{self._reader}: {self.path} {told}")
        return document, binary

    def _with_sparse(self, values: NDArray[Any], sparse: dict[str, Any]) -> NDArray[Any]:
        count, places, given = sparse["count"], sparse["indices"], sparse["values"]
        kind = np.dtype(_TYPES[places["componentType"]])
        at = self._rows(places["bufferView"], places.get("byteOffset", 0), kind, count, 1)[:, 0]
        values[at] = self._rows(
            given["bufferView"], given.get("byteOffset", 0), values.dtype, count, values.shape[1]
        )
        return values

    def _rows(self, view: int, offset: int, kind: np.dtype[Any], count: int, width: int) -> NDArray[Any]:
        """[count,width] of a view whose rows may lie apart."""
        data = self.view(view)
        stride = self.json["bufferViews"][view].get("byteStride") or width * kind.itemsize
        if offset + stride * (count - 1) + width * kind.itemsize > len(data):
            raise IndexError(f"view {view} ends before its {count} rows")
        return np.ndarray((count, width), kind.newbyteorder("<"), data, offset, (stride, kind.itemsize))

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            uri = self.json["buffers"][index].get("uri")
            data = self._binary if uri is None else self.content(uri)
            if data is None:
                raise ValueError(f"{self._reader}: {self.path} needs {uri!r} beside it. Copy that file too.")
            self._buffers[index] = data
        return self._buffers[index]


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 12
    while at + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length


def _triangles(order: NDArray[np.int64], mode: int) -> NDArray[np.int64]:
    """Faces [F,3] of a list, strip or fan of indices."""
    if mode == _TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    if mode == _FAN:
        return np.stack((np.full(max(len(order) - 2, 0), order[:1].sum()), order[1:-1], order[2:]), -1)
    strip = np.stack((order[:-2], order[1:-1], order[2:]), -1)
    strip[1::2] = strip[1::2, [1, 0, 2]]  # every second one turns the other way
    return strip
