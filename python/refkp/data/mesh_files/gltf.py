"""glTF 2.0, as .gltf with files beside it or as .glb: geometry, base colours and textures.

Colour of a surface = base colour texture x base colour factor x COLOR_0, the product taken in linear light. Factors and
COLOR_0 are stored linear, textures in sRGB. Lighting of materials (metal, roughness, unlit), alpha and the
back sides of faces are left to the renderer.

Source: Khronos Group, "glTF 2.0 Specification", sections 3.6, 3.7 and 3.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refkp.data.images import decode_rgb
from refkp.data.mesh_files.colours import as_bytes, in_unit_range, srgb_from_linear, tinted
from refkp.data.mesh_files.gltf_document import GltfDocument, gltf_document
from refkp.data.mesh_files.gltf_nodes import PlacedNode, placed_nodes
from refkp.data.mesh_files.parts import MeshFile, Part

Array = NDArray[np.float64]

_GLOSSY, _PLACED = "KHR_materials_pbrSpecularGlossiness", "KHR_texture_transform"


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
    with gltf_document(path, "load_mesh") as document:
        surfaces = _Surfaces(document)
        parts = [part for node in placed_nodes(document.json) for part in surfaces.parts(node)]
        return MeshFile(tuple(parts), tuple(dict.fromkeys(surfaces.losses)))


class _Surfaces:
    """The coloured surfaces of a document, each picture read once."""

    def __init__(self, document: GltfDocument) -> None:
        self._document = document
        self._textures: dict[tuple[int, bytes], NDArray[np.uint8] | None] = {}
        self.losses: list[str] = []

    def parts(self, node: PlacedNode) -> Iterator[Part]:
        """The triangles of a node, if it has any; points and lines are left out."""
        if "mesh" not in node.fields:
            return
        placement = node.world
        for primitive in self._document.json["meshes"][node.fields["mesh"]]["primitives"]:
            attributes, faces = primitive["attributes"], self._document.faces(primitive)
            if faces is None:
                continue
            points = self._document.accessor(attributes["POSITION"])
            if np.linalg.det(placement[:3, :3]) < 0:  # a mirror turns faces around
                faces = faces[:, ::-1]
            part = Part(points @ placement[:3, :3].T + placement[:3, 3], faces)
            yield self._coloured(part, attributes, self._look(primitive.get("material")))

    def _coloured(self, part: Part, attributes: dict[str, int], look: _Look) -> Part:
        colours = None
        if "COLOR_0" in attributes:
            stored = self._document.accessor(attributes["COLOR_0"])[:, :3]
            colours = in_unit_range(stored, f"load_mesh: {self._document.path}: colours of vertices")
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
        uv = _moved(self._document.accessor(attributes[name]), moved) * (1, -1) + (0, 1)  # v is down in glTF
        return part._replace(uv=uv, texture=picture)

    def _look(self, material: int | None) -> _Look:
        if material is None:
            return _Look(np.ones(3), None, False)
        entry = self._document.json["materials"][material]
        extensions = entry.get("extensions", {})
        base = entry.get("pbrMetallicRoughness", {})
        if _GLOSSY in extensions:
            base = extensions[_GLOSSY]
            factor, texture = base.get("diffuseFactor"), base.get("diffuseTexture")
        else:
            factor, texture = base.get("baseColorFactor"), base.get("baseColorTexture")
        if factor is None:
            return _Look(np.ones(3), texture, True)
        what = f"load_mesh: {self._document.path}: the colour factor {factor[:3]}"
        return _Look(in_unit_range(factor[:3], what), texture, True)

    def _texture(self, index: int, factor: Array) -> NDArray[np.uint8] | None:
        key = (index, factor.tobytes())
        if key not in self._textures:
            picture = self._picture(index)
            self._textures[key] = None if picture is None else tinted(picture, factor)
        return self._textures[key]

    def _picture(self, index: int) -> NDArray[np.uint8] | None:
        texture = self._document.json["textures"][index]
        sources = [texture.get("source")]
        sources += [extension.get("source") for extension in texture.get("extensions", {}).values()]
        source = next((number for number in sources if number is not None), None)
        if source is None:
            self.losses.append(f"texture {index} names no picture")
            return None
        image = self._document.json["images"][source]
        if "bufferView" in image:
            data: bytes | None = self._document.view(image["bufferView"])
        else:
            data = self._document.content(image["uri"])
        if data is None:
            self.losses.append(f"there is no picture {image['uri']!r}")
            return None
        where = f"picture {image.get('uri', source)!r:.80} of {self._document.path}"
        return decode_rgb(data, where).permute(1, 2, 0).numpy()


def _moved(uv: Array, moved: dict[str, Any]) -> Array:
    """Coordinates under KHR_texture_transform: scaled, turned, shifted."""
    angle = moved.get("rotation", 0.0)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    result: Array = (uv * moved.get("scale", (1, 1))) @ turn.T + moved.get("offset", (0, 0))
    return result
