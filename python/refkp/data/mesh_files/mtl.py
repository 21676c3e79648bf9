"""Materials of OBJ files. Source: Wavefront's "MTL material format", version 4.2."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refkp.data.images import read_rgb
from refkp.data.mesh_files.colours import in_unit_range, linear_from_srgb, tinted

#: Options of a map -> how many words follow, at least and at most.
_OPTIONS = {
    **dict.fromkeys(("-blendu", "-blendv", "-cc", "-clamp", "-texres", "-imfchan", "-type"), (1, 1)),
    **dict.fromkeys(("-bm", "-boost"), (1, 1)),
    "-mm": (2, 2),
    **dict.fromkeys(("-o", "-s", "-t"), (1, 3)),
}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class _Map:
    """A picture named by a material: the rest of its line, options and a name that may hold spaces."""

    def __init__(self, text: str) -> None:
        self.scale, self.offset = np.ones(2), np.zeros(2)
        rest = text.strip()
        while (words := rest.split(maxsplit=1)) and words[0] in _OPTIONS:
            values, rest = _values(words[1] if len(words) > 1 else "", *_OPTIONS[words[0]])
            if words[0] in ("-s", "-o"):
                target = self.scale if words[0] == "-s" else self.offset
                target[: len(values)] = [float(value) for value in values[:2]]
        self.name = rest.strip().strip('"')

    def place(self, uv: NDArray[np.float64]) -> NDArray[np.float64]:
        """Coordinates [n,2] in the picture, from those of the mesh."""
        return uv * self.scale + self.offset


@dataclass
class Material:
    """What a material says of colours."""

    name: str
    diffuse: tuple[float, ...] | None = None  # Kd, sRGB in [0,1]
    ambient: tuple[float, ...] | None = None  # Ka, as Kd
    diffuse_map: _Map | None = None
    ambient_map: _Map | None = None

    @property
    def colour(self) -> tuple[float, ...] | None:
        """The plain colour in sRGB: Kd, or Ka of a material that has it alone."""
        return self.ambient if self.diffuse is None else self.diffuse

    @property
    def map(self) -> _Map | None:
        """The picture of the surface."""
        return self.diffuse_map or self.ambient_map

    def texture(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture times Kd in linear light. A black Kd means nothing beside a picture, which it would hide."""
        colour = self.diffuse if self.diffuse_map is not None else self.ambient
        if colour is None or not any(colour):
            return picture
        return tinted(picture, linear_from_srgb(colour))


def read_materials(path: Path) -> dict[str, Material]:
    """The materials of a library by name; the first of a name counts.

    Raises:
        ValueError: a colour that is not made of numbers, or see `colours.in_unit_range`.
    """
    materials: dict[str, Material] = {}
    current = Material("")
    for line in path.read_bytes().decode("utf-8", "surrogateescape").splitlines():
        key, _, rest = line.strip().replace("\t", " ").partition(" ")
        match key.lower():
            case "newmtl":
                current = Material(rest.strip())
                materials.setdefault(current.name, current)
            case "kd":
                current.diffuse = _colour(rest, path)
            case "ka":
                current.ambient = _colour(rest, path)
            case "map_kd":
                current.diffuse_map = _Map(rest)
            case "map_ka":
                current.ambient_map = _Map(rest)
    return materials


class Pictures:
    """The pictures that materials name, each read once, and each material's texture made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pictures: dict[Path, NDArray[np.uint8]] = {}
        self._textures: dict[str, NDArray[np.uint8]] = {}

    def texture(self, material: Material) -> NDArray[np.uint8] | None:
        """uint8 [h,w,3], or None if the picture is nowhere.

        Raises:
            ValueError: the picture is there and cannot be decoded.
        """
        if material.name not in self._textures:
            path = find_beside(self._folder, material.map.name if material.map else "")
            if path is None:
                return None
            if path not in self._pictures:
                self._pictures[path] = read_rgb(path).permute(1, 2, 0).numpy()
            self._textures[material.name] = material.texture(self._pictures[path])
        return self._textures[material.name]


def find_beside(folder: Path, name: str) -> Path | None:
    """The file that is named in a file of `folder`: at its path, with slashes of either kind, or directly beside.

    Names differ in case where they were written on a system that does not tell; such a file is found too.
    """
    named = Path(name.strip().strip('"').replace("\\", "/"))
    if not named.name:
        return None
    for path in (folder / named, folder / named.name):
        if path.is_file():
            return path
        if path.parent.is_dir():
            alike = [other for other in path.parent.iterdir() if other.name.lower() == path.name.lower()]
            if len(alike) == 1 and alike[0].is_file():
                return alike[0]
    return None


def _values(text: str, least: int, most: int) -> tuple[list[str], str]:
    """The words of an option and what follows; beyond the first, only numbers belong to it, and never the last."""
    values: list[str] = []
    while len(values) < most and (words := text.split(maxsplit=1)):
        if len(values) >= least and (not _NUMBER.fullmatch(words[0]) or len(words) == 1):
            break
        values.append(words[0])
        text = words[1] if len(words) > 1 else ""
    return values, text


def _colour(text: str, path: Path) -> tuple[float, ...] | None:
    """Three numbers in [0,1], or one for all; None for a spectral curve, which has no colour here."""
    words = text.split("#")[0].split()
    if words and words[0].lower() in ("spectral", "xyz"):
        return None
    try:
        values = tuple(float(word) for word in words[:3])
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not np.isfinite(values).all():
        raise ValueError(f"{path}: a colour is one or three numbers, not {text.strip()!r}. Repair the line.")
    values = values * 3 if len(values) == 1 else values
    return tuple(in_unit_range(values, f"{path}: the numbers of the colour {text.strip()!r}").tolist())
