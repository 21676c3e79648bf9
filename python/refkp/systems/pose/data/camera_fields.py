"""The fields of a camera's JSON, by the names that programs give them.

Names are compared without case and punctuation, so that `imageWidth` is `image_width`; a field in a table within the
file counts as one beside it. Nothing is judged here: `refkp.systems.pose.data.intrinsics` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class StatedNumber(NamedTuple):
    """One of the intrinsics by itself."""

    field: str
    which: str  # fx, fy, cx or cy
    value: float


class StatedSize(NamedTuple):
    """The size of the picture that the camera belongs to; None for a side that is not told."""

    field: str
    height: float | None
    width: float | None
    is_ordered: bool = True  # False: in either order


class CameraFields(NamedTuple):
    """What a file says, each with the field that says it."""

    matrices: list[tuple[str, NDArray[np.float64]]]  # [3,3], `K` and `cam_K` first
    numbers: list[StatedNumber]
    sizes: list[StatedSize]
    skews: list[tuple[str, float]]
    distortions: list[tuple[str, bool]]  # whether there is any
    models: list[tuple[str, str]]
    unreadable: list[str]  # of a known name, with a value of another form
    unknown: list[str]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> CameraFields:
        """The fields of a table; those without a value (null) say nothing."""
        fields = cls([], [], [], [], [], [], [], [])
        for name, key, value in _flat(content):
            if value is not None:
                _sort(fields, name, key, value)
        fields.matrices.sort(key=lambda matrix: _FIRST.get(matrix[0], len(_FIRST)))
        return fields


def _keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FIRST = {"K": 0, "cam_K": 1}
_MATRICES = _keys(
    "k camk kmatrix kmat intrinsic intrinsics intrinsicmatrix intrinsicsmatrix intrinsicparameters camintrinsics "
    "cameraintrinsics cameraintrinsic cammatrix cameramatrix calibrationmatrix mtx"
)
_SKEWS = re.compile(r"skew(?!.*(deg|angle))|^(s|shear|gamma|alphac)$")
_MODELS = _keys(
    "model cameramodel cammodel type cameratype projection projectiontype lens lenstype modelname"
)
_PARAMETERS = _keys("params parameters cameraparams projectionparams modelparams")
_DISTORTED = re.compile(
    r"(?<!un)dist(?!ance)|radial|tangential|fisheye|thinprism|brown|kappa|^([kpbs]\d|d|kc|ks|coeffs?|coefficients|xi|alpha|beta"
    r"|tau[xy]?)$"
)
_UNDISTORTED = re.compile(r"undist|rectified")

_NUMBERS = {
    "fx": "fx flx focalx focallengthx xfocal",
    "fy": "fy fly focaly focallengthy yfocal",
    "cx": "cx ppx px u0 x0 centerx centrex principalpointx principalx",
    "cy": "cy ppy py v0 y0 centery centrey principalpointy principaly",
    "fx fy": "f focal focallength focallengths focalpx focallengthpx",
    "cx cy": "c pp principal center centre principalpoint opticalcenter opticalcentre",
    "fx fy cx cy": "fxfycxcy",
}
_WHICH = {key: tuple(which.split()) for which, keys in _NUMBERS.items() for key in keys.split()}

_OF_PICTURES = {
    "",
    *_keys("im image img picture photo frame video input camera cam rgb color colour calib calibration"),
}


def _side_names(sides: str) -> frozenset[str]:
    return frozenset(
        f"{of}{side}{unit}" for of in _OF_PICTURES for side in sides.split() for unit in ("", "px", "pixels")
    )


_WIDTHS = _side_names("width w cols columns ncols nx sizex resx xres resolutionx xresolution")
_HEIGHTS = _side_names("height h rows nrows ny sizey resy yres resolutiony yresolution")
_SIZES = _side_names("size resolution res shape dim dims dimension dimensions")
_WIDTH_FIRST, _HEIGHT_FIRST = _side_names("wh widthheight"), _side_names("hw heightwidth")

#: What says nothing of the projection, or what others read.
_HARMLESS = _keys(
    "name id cameraid camid cameraname cameraserial sensor datetime camera cam index idx label timestamp time "
    "date created stamp seq sequence header frame frameid comment comments note notes description info about unit "
    "units version schema serial serialnumber make manufacturer device brand source author license licence "
    "copyright depthscale depthunit depthunits depthfactor file filename filepath path image imagename imagepath "
    "imageid picture photo camrw2c camtw2c camrm2c camtm2c r t rotation translation position extrinsic extrinsics "
    "pose camerapose c2w w2c cam2world world2cam transform transformmatrix tworldfromcamera elev mode viewlevel "
    "near far znear zfar fps framerate exposure iso gain aperture fnumber focallengthmm sensorwidthmm "
    "sensorheightmm sensorsizemm"
)

#: Names that are harmless by themselves, and as tables hold cameras.
_TABLES = frozenset(("camera", "cam", "image", "picture", "frame", "header", "info"))


def _flat(content: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, str, Any]]:
    """Name, key and value of the fields; those of a table within are named `table.field`."""
    for field, value in content.items():
        name, key = within + str(field), re.sub("[^a-z0-9]", "", str(field).lower())
        if isinstance(value, Mapping) and isinstance(value.get("data"), list):  # as OpenCV writes matrices
            yield name, key, value["data"]
        elif isinstance(value, Mapping) and not (_says_distortion(key) or key in _HARMLESS - _TABLES):
            yield from _flat(value, f"{name}.")
        else:
            yield name, key, value


def _says_distortion(key: str) -> bool:
    return bool(_DISTORTED.search(key))


def _sort(fields: CameraFields, name: str, key: str, value: Any) -> None:
    """Put a field where it belongs."""
    if _names_model(key, value):
        fields.models.append((name, value))
    elif key in _MATRICES:
        _sort_matrix(fields, name, value)
    elif key in _WHICH:
        _sort_numbers(fields, name, _WHICH[key], value)
    elif key in _PARAMETERS:
        _sort_parameters(fields, name, value)
    elif key in _WIDTHS | _HEIGHTS | _SIZES | _WIDTH_FIRST | _HEIGHT_FIRST:
        _sort_size(fields, name, key, value)
    elif _SKEWS.search(key):
        skew = _floats(value)
        fields.skews.extend((name, number) for number in skew)
        fields.unreadable.extend([] if len(skew) == 1 else [name])
    elif _UNDISTORTED.search(key):
        fields.distortions.append((name, value is False))
    elif _says_distortion(key):
        fields.distortions.append((name, _has_number(value)))
    elif key not in _HARMLESS:
        fields.unknown.append(name)


def _names_model(key: str, value: Any) -> bool:
    """Whether a field names a kind of camera: as such, or in the place of its distortion."""
    is_name = key in _MODELS or key.endswith(("model", "modeltype")) or _says_distortion(key)
    return is_name and isinstance(value, str) and not _floats(value)


def _sort_matrix(fields: CameraFields, name: str, value: Any) -> None:
    numbers = _floats(value)
    if len(numbers) == 9:
        fields.matrices.append((name, np.array(numbers).reshape(3, 3)))
    elif len(numbers) == 4 and name not in _FIRST:
        _sort_numbers(fields, name, ("fx", "fy", "cx", "cy"), value)
    elif len(numbers) == 1 and name == "k":  # the one coefficient of a simple radial camera
        fields.distortions.append((name, numbers[0] != 0))
    else:
        fields.unreadable.append(name)


def _sort_numbers(fields: CameraFields, name: str, which: tuple[str, ...], value: Any) -> None:
    numbers = _floats(value)
    if len(numbers) == 1 and which == ("fx", "fy"):
        numbers *= 2
    if len(numbers) != len(which):
        fields.unreadable.append(name)
        return
    fields.numbers.extend(map(StatedNumber, [name] * len(which), which, numbers))


def _sort_parameters(fields: CameraFields, name: str, value: Any) -> None:
    """Those of a pinhole are f or fx fy, then cx cy; more are coefficients of a distortion."""
    numbers = _floats(value)
    if len(numbers) == 3:
        numbers.insert(0, numbers[0])
    _sort_numbers(fields, name, ("fx", "fy", "cx", "cy"), numbers[:4])
    fields.distortions.append((name, any(numbers[4:])))


def _sort_size(fields: CameraFields, name: str, key: str, value: Any) -> None:
    sides: list[float | None] = [*_floats(value)]
    if key in _WIDTHS | _HEIGHTS:
        sides = [None, *sides] if key in _WIDTHS else [*sides, None]
    elif len(sides) == 3 and sides[2] in (1, 3, 4):  # the channels of a shape
        sides = sides[:2]
    if len(sides) != 2:
        fields.unreadable.append(name)
        return
    height, width = reversed(sides) if key in _WIDTH_FIRST else sides
    fields.sizes.append(StatedSize(name, height, width, key not in _SIZES))


def _floats(value: Any) -> list[float]:
    """The numbers of a value, lists within flattened, or of a text such as "640 x 480"; none if others are in it."""
    if isinstance(value, str):
        value = re.split(r"[\s,;x]+", value.strip(" \t[]()"))
    elif not isinstance(value, (list, tuple)):
        value = [value]
    numbers: list[float] = []
    for part in value:
        inner = _floats(part) if isinstance(part, (list, tuple)) else [_float(part)]
        if not inner or None in inner:
            return []
        numbers += [number for number in inner if number is not None]
    return numbers


def _float(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _has_number(value: Any) -> bool:
    """Whether a number that is not zero, or a yes, stands somewhere in a JSON value."""
    if isinstance(value, Mapping):
        return any(map(_has_number, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_number, value))
    if isinstance(value, str):
        return any(_floats(value))
    return isinstance(value, (int, float)) and value != 0
