"""glTF 2.0, as .gltf with files beside it or as .glb: geometry, base colours and textures.

Colour of a surface = base colour texture x base colour factor x COLOR_0, the product taken in linear light. Factors and
COLOR_0 are stored linear, textures in sRGB. Lighting of materials (metal, roughness, unlit), alpha and the
back sides of faces are left to the renderer.

Source: Khronos Group, "glTF 2.0 Specification", sections 3.6, 3.7 and 3.9.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from refkp.data.images import decode_rgb
from refkp.data.mesh_files.colours import as_bytes, in_unit_range, srgb_from_linear, tinted
from refkp.data.mesh_files.gltf_nodes import placements
from refkp.data.mesh_files.parts import MeshFile, Part

Array = NDArray[np.float64]

_TYPES = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_GLOSSY, _PLACED = "KHR_materials_pbrSpecularGlossiness", "KHR_texture_transform"
_COMPRESSED = ("KHR_draco_mesh_compression", "EXT_meshopt_compression")
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_MOST_ROWS = 2**28  # of an accessor; more are a mistake, which may have no bytes behind it

#: What values of the wrong kind, size or place in a document lead to.
_STRAY = (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, struct.error)


class _Look(NamedTuple):
    """The base colour of a material."""

    factor: Array  # [3], linear
    texture: dict[str, Any] | None  # index, texCoord
    is_given: bool  # there is a material


def read_gltf(path: Path) -> MeshFile:
    """The surfaces of the default scene, each where its node stands.

    Raises:
        ValueError: the file is broken, or its geometry is compressed.
    """
    document, binary = _opened(path)
    try:
        file = _File(document, binary, path)
        parts = [part for node, placement in placements(document) for part in file.parts(node, placement)]
    except _STRAY as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise  # it was told already
        raise ValueError(f"load_mesh: {path} is no valid glTF: {error!r}. Export it again.") from error
    return MeshFile(tuple(parts), tuple(dict.fromkeys(file.losses)))


def _opened(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON of a file, and the binary chunk that a .glb holds."""
    data, binary = path.read_bytes(), b""
    text = data
    if data[:4] == b"glTF":
        chunks = dict(_chunks(data))
        text, binary = chunks.get(_JSON, b""), chunks.get(_BINARY, b"")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ValueError(f"load_mesh: {path} is no valid glTF: {error}. Export it again.") from error
    if not isinstance(document, dict):
        raise ValueError(f"load_mesh: {path} is no valid glTF: no table of its parts. Export it again.")
    compressed = [name for name in document.get("extensionsRequired", []) if name in _COMPRESSED]
    if compressed:
        raise ValueError(
            f"load_mesh: {path} is compressed by {compressed[0]}. Export it without compression."
        )
    return document, binary


def _chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 12
    while at + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, at)
        yield kind, data[at + 8 : at + 8 + length]
        at += 8 + length


class _File:
    """A document with its buffers and pictures, each read once."""

    def __init__(self, document: dict[str, Any], binary: bytes, path: Path) -> None:
        self._document, self._binary, self._path = document, binary, path
        self._buffers: dict[int, bytes] = {}
        self._textures: dict[tuple[int, bytes], NDArray[np.uint8] | None] = {}
        self.losses: list[str] = []

    def parts(self, node: dict[str, Any], placement: Array) -> Iterator[Part]:
        """The triangles of a node; points and lines are left out."""
        for primitive in self._document["meshes"][node["mesh"]]["primitives"]:
            attributes = primitive["attributes"]
            if primitive.get("mode", _TRIANGLES) < _TRIANGLES or "POSITION" not in attributes:
                continue
            points = self._accessor(attributes["POSITION"])
            if "indices" in primitive:
                order = self._accessor(primitive["indices"])[:, 0].astype(np.int64)
            else:
                order = np.arange(len(points))
            faces = _triangles(order, primitive.get("mode", _TRIANGLES))
            if np.linalg.det(placement[:3, :3]) < 0:  # a mirror turns faces around
                faces = faces[:, ::-1]
            part = Part(points @ placement[:3, :3].T + placement[:3, 3], faces)
            yield self._coloured(part, attributes, self._look(primitive.get("material")))

    def _coloured(self, part: Part, attributes: dict[str, int], look: _Look) -> Part:
        colours = None
        if "COLOR_0" in attributes:
            stored = self._accessor(attributes["COLOR_0"])[:, :3]
            colours = in_unit_range(stored, f"load_mesh: {self._path}: colours of vertices")
        if look.texture is not None:
            return self._textured(part, attributes, look.texture, look.factor, colours)
        if colours is None and not look.is_given:
            return part
        light = look.factor * (np.ones_like(part.vertices) if colours is None else colours)
        return part._replace(colours=as_bytes(srgb_from_linear(light)))

    def _textured(
        self,
        part: Part,
        attributes: dict[str, int],
        texture: dict[str, Any],
        factor: Array,
        colours: Array | None,
    ) -> Part:
        moved = texture.get("extensions", {}).get(_PLACED, {})
        name = f"TEXCOORD_{moved.get('texCoord', texture.get('texCoord', 0))}"
        if name not in attributes:
            self.losses.append(f"a textured part has no {name}")
            return part
        if colours is not None and len(colours):
            if (colours == colours[0]).all():
                factor = factor * colours[0]
            else:
                self.losses.append("colours of vertices on a texture, which is shown without them")
        picture = self._texture(texture["index"], factor)
        if picture is None:
            return part
        uv = _moved(self._accessor(attributes[name]), moved) * (1, -1) + (0, 1)  # v is down in glTF
        return part._replace(uv=uv, texture=picture)

    def _look(self, material: int | None) -> _Look:
        if material is None:
            return _Look(np.ones(3), None, False)
        entry = self._document["materials"][material]
        extensions = entry.get("extensions", {})
        base = entry.get("pbrMetallicRoughness", {})
        if _GLOSSY in extensions:
            base = extensions[_GLOSSY]
            factor, texture = base.get("diffuseFactor"), base.get("diffuseTexture")
        else:
            factor, texture = base.get("baseColorFactor"), base.get("baseColorTexture")
        if factor is None:
            return _Look(np.ones(3), texture, True)
        what = f"load_mesh: {self._path}: the colour factor {factor[:3]}"
        return _Look(in_unit_range(factor[:3], what), texture, True)

    def _texture(self, index: int, factor: Array) -> NDArray[np.uint8] | None:
        key = (index, factor.tobytes())
        if key not in self._textures:
            picture = self._picture(index)
            self._textures[key] = None if picture is None else tinted(picture, factor)
        return self._textures[key]

    def _picture(self, index: int) -> NDArray[np.uint8] | None:
        texture = self._document["textures"][index]
        sources = [texture.get("source")]
        sources += [extension.get("source") for extension in texture.get("extensions", {}).values()]
        source = next((number for number in sources if number is not None), None)
        if source is None:
            self.losses.append(f"texture {index} names no picture")
            return None
        image = self._document["images"][source]
        if "bufferView" in image:
            data: bytes | None = self._view(image["bufferView"])
        else:
            data = self._content(image["uri"])
        if data is None:
            self.losses.append(f"there is no picture {image['uri']!r}")
            return None
        where = f"picture {image.get('uri', source)!r:.80} of {self._path}"
        return decode_rgb(data, where).permute(1, 2, 0).numpy()

    def _accessor(self, index: int) -> Array:
        """[n,width] of float64; integers that stand for [0,1] or [-1,1] become that."""
        accessor = self._document["accessors"][index]
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
        data = self._view(view)
        stride = self._document["bufferViews"][view].get("byteStride") or width * kind.itemsize
        if offset + stride * (count - 1) + width * kind.itemsize > len(data):
            raise IndexError(f"view {view} ends before its {count} rows")
        return np.ndarray((count, width), kind.newbyteorder("<"), data, offset, (stride, kind.itemsize))

    def _view(self, index: int) -> bytes:
        view = self._document["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return self._buffer(view["buffer"])[start : start + view["byteLength"]]

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            uri = self._document["buffers"][index].get("uri")
            data = self._binary if uri is None else self._content(uri)
            if data is None:
                raise ValueError(f"load_mesh: {self._path} needs {uri!r} beside it. Copy that file too.")
            self._buffers[index] = data
        return self._buffers[index]

    def _content(self, uri: str) -> bytes | None:
        """The bytes of a uri within the file or beside it; None if there is no such file."""
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2], validate=True)
            except binascii.Error as error:
                raise ValueError(
                    f"load_mesh: {self._path} is no valid glTF: {error}. Export it again."
                ) from error
        file = self._path.parent / unquote(uri).replace("\\", "/")
        return file.read_bytes() if file.is_file() else None


def _triangles(order: NDArray[np.int64], mode: int) -> NDArray[np.int64]:
    """Faces [F,3] of a list, strip or fan of indices."""
    if mode == _TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    if mode == _FAN:
        return np.stack((np.full(max(len(order) - 2, 0), order[:1].sum()), order[1:-1], order[2:]), -1)
    strip = np.stack((order[:-2], order[1:-1], order[2:]), -1)
    strip[1::2] = strip[1::2, [1, 0, 2]]  # every second one turns the other way
    return strip


def _moved(uv: Array, moved: dict[str, Any]) -> Array:
    """Coordinates under KHR_texture_transform: scaled, turned, shifted."""
    angle = moved.get("rotation", 0.0)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    result: Array = (uv * moved.get("scale", (1, 1))) @ turn.T + moved.get("offset", (0, 0))
    return result
