"""Intrinsics in files, and whether they can belong to their picture: for photos, BOP folders and shards alike.

A camera that contradicts its picture gives poses that are wrong without a sign of it, so it is an error that says what
contradicts and, where that can be told, the numbers that would fit.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.pose.data.camera_fields import CameraFields, StatedSize
from refkp.systems.pose.data.json_values import parse_json

Size = tuple[int, int]  # height, width

#: Shorter focal lengths, as shares of the picture's sides, would see 157 degrees and more.
LEAST_FOCAL_LENGTH = 0.1

#: How far from the picture the principal point may be, as a share of its sides: that of a crop is off its middle.
FARTHEST_PRINCIPAL_POINT = 0.5

#: K is of a picture of another size if its principal point is the middle of one this many times as large, or as small.
ANOTHER_SCALE = 1.5

_FORMS = '{"K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]}, {"fx", "fy", "cx", "cy"} or {"cam_K": [9 numbers]}'
_SAME = 0.1  # pixels: what rounding on paper may change
_ROUNDING = 1e-3  # pixels: what is left of a zero by arithmetic in float32

#: Cameras that are no pinhole whatever their coefficients, and those that are one if all coefficients are 0.
_NO_PINHOLE = re.compile(
    r"fish|equi|kannala|spher|omni|panoram|stereograph|cylind|orthograph|telecentric|affine|pushbroom|ftheta"
    r"|^(fov|mei|e?ucm|ds|kb\d*)$|eucm|unified"
)
_WITH_COEFFICIENTS = re.compile(
    r"opencv|radial|radtan|plumb|brown|rational|prism|division|metashape|distort(?!ionnone)|poly"
)
_PINHOLE = re.compile(
    r"pinhole|perspective|linear|ideal|^(none|no|zero|central|undistorted|nodistortion|distortionnone)$"
)


def read_intrinsics(path: Path | str, size: Size, *, is_turned: bool = False) -> Tensor:
    """K [3,3] float64 of a JSON file for a picture of `size` (height, width).

    Three forms are meant: {"K": [[...], [...], [...]]}; {"fx", "fy", "cx", "cy"}, the `camera.json` of BOP data
    sets (its `depth_scale` is not needed here); and {"cam_K": [9 numbers]}, an entry of `scene_camera.json`.

    Args:
        path: the file.
        size: (height, width) of the picture.
        is_turned: the picture was turned by its EXIF orientation, so that `size` is not as stored; for messages.

    Raises:
        ValueError: no such file, another form, or see `parse_intrinsics`.
    """
    path = Path(path)
    if not path.is_file():
        fail("read_intrinsics", "camera", "a JSON file", f"{str(path)!r}, which is not there")
    return parse_intrinsics(parse_json(path.read_bytes(), str(path)), size, str(path), is_turned=is_turned)


def parse_intrinsics(
    entry: Any, size: Size, where: str, *, source: str | None = None, is_turned: bool = False
) -> Tensor:
    """K [3,3] float64 of what a file says of a camera, for a picture of `size` (height, width).

    All that the file says under a name that `refkp.systems.pose.data.camera_fields` knows must agree: intrinsics
    that are told twice, the size of the picture, whole or one side of it, skew, distortion and the model of the
    camera. Fields that it does not know are not used, which one warning says.

    Args:
        entry: the content of the file.
        size: (height, width) of the picture.
        where: names the entry in errors.
        source: names the file or folder in the warning, which is given once for each; default: `where`.
        is_turned: as in `read_intrinsics`.

    Raises:
        ValueError: none of the forms of `read_intrinsics`; a known field that cannot be read; skew, coefficients of a
            distortion, another camera than a pinhole; the size of another picture; intrinsics that differ; or see
            `checked_intrinsics`.
    """
    fields = CameraFields.of(entry if isinstance(entry, Mapping) else {})
    K = _intrinsics(fields)
    if K is None:
        got = sorted(map(str, entry)) if isinstance(entry, Mapping) else type(entry).__name__
        fail("parse_intrinsics", where, f"of the form {_FORMS}", got)
    if fields.unreadable:
        remedy = "Write it as numbers, or leave it out."
        fail("parse_intrinsics", where, "a camera whose known fields hold their numbers",
             f"`{fields.unreadable[0]}`: {_value(entry, fields.unreadable[0])!r}", remedy)  # fmt: skip
    _check_pinhole(fields, where)
    _check_sizes(fields, K, size, where, is_turned)
    _check_agreement(fields, K, where)
    _warn_of_unknown(fields, where if source is None else source)
    is_ordered = any(stated.is_ordered for stated in fields.sizes)
    return checked_intrinsics(
        K, size, where, is_stated=bool(fields.sizes), is_upright=is_ordered, is_turned=is_turned
    )


def checked_intrinsics(
    K: Tensor,
    size: Size,
    where: str,
    *,
    is_stated: bool = False,
    is_upright: bool = False,
    is_turned: bool = False,
) -> Tensor:
    """K [3,3] itself, its zeros exact, once it can belong to a picture.

    Args:
        K: float64 [3,3], pixels.
        size: (height, width) of the picture.
        where: names K in errors.
        is_stated: somebody says that K belongs to this size; else it must not look like that of another.
        is_upright: somebody says which side is the width; else K must not look like that of swapped sides.
        is_turned: as in `read_intrinsics`.

    Raises:
        ValueError: written column by column, a last row other than 0 0 1, focal lengths that are not positive or are
            too short to be pixels, skew, a principal point far outside, or that of a picture of another size.
    """
    _check_form(K, where)
    _check_focal_lengths(K, size, where)
    _check_principal_point(K, size, where, is_stated)
    if not is_upright:
        _check_sides(K, size, where, is_turned)
    fx, fy, cx, cy = _numbers(K)
    return K.new_tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _check_form(K: Tensor, where: str) -> None:
    plain = "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0"
    if not bool(K.isfinite().all()):
        fail("checked_intrinsics", where, plain, K.tolist())
    if bool((K[2, :2].abs() > _ROUNDING).all()) and not bool(K[:2, 2].any()):
        remedy = f"Transpose it: {K.T.tolist()}."
        fail("checked_intrinsics", where, "written row by row", f"columns, {K.tolist()}", remedy)
    is_last = torch.allclose(K[2], K.new_tensor([0.0, 0.0, 1.0]), rtol=0, atol=1e-6)
    if not is_last or abs(float(K[1, 0])) > _ROUNDING or not bool((K.diagonal() > 0).all()):
        fail("checked_intrinsics", where, plain, K.tolist())
    if abs(float(K[0, 1])) > _ROUNDING:
        remedy = "Undistort the picture to a camera without skew."
        fail("checked_intrinsics", where, "without skew", float(K[0, 1]), remedy)


def _check_focal_lengths(K: Tensor, size: Size, where: str) -> None:
    fx, fy, cx, cy = _numbers(K)
    height, width = size
    if fx >= LEAST_FOCAL_LENGTH * width and fy >= LEAST_FOCAL_LENGTH * height:
        return
    remedy = "Millimetres become pixels times the width of the picture by that of the sensor."
    if max(abs(cx), abs(cy)) <= 1:
        pixels = _text(fx * width, fy * height, cx * width, cy * height)
        remedy = f"If they are shares of the width and height, in pixels it is {pixels}."
    rule = f"focal lengths in pixels, at least {LEAST_FOCAL_LENGTH:g} of a picture of {width} x {height}"
    fail("checked_intrinsics", where, rule, _text(fx, fy, cx, cy), remedy)


def _check_principal_point(K: Tensor, size: Size, where: str, is_stated: bool) -> None:
    fx, fy, cx, cy = _numbers(K)
    height, width = size
    rule = f"of a picture of {width} x {height}"
    got = f"the principal point ({cx:g}, {cy:g})"
    across, down = 2 * cx / width, 2 * cy / height  # 1: in the middle
    far = max(abs(across - 1), abs(down - 1)) > 1 + 2 * FARTHEST_PRINCIPAL_POINT
    ratio = (across + down) / 2
    is_scaled = abs(across - down) < 0.1 * ratio and not 1 / ANOTHER_SCALE < ratio < ANOTHER_SCALE
    if is_scaled and (far or not is_stated):
        scaled = _text(*(value / ratio for value in (fx, fy, cx, cy)))
        remedy = (f"If K belongs to a picture of about {2 * cx:.0f} x {2 * cy:.0f}, for this one it is about {scaled}. "
                  f"If this one is a crop, say so with \"width\": {width}, \"height\": {height} beside K.")  # fmt: skip
        fail("checked_intrinsics", where, rule, got, remedy)
    if far:
        fail(
            "checked_intrinsics", where, rule, f"{got}, far outside", "Give the camera of this very picture."
        )


def _check_sides(K: Tensor, size: Size, where: str, is_turned: bool) -> None:
    """The principal point must not be the middle of a picture with width and height swapped."""
    _, _, cx, cy = _numbers(K)
    height, width = size
    is_swapped = abs(2 * cx / height - 1) < 0.05 and abs(2 * cy / width - 1) < 0.05
    if is_swapped and not 1 / 1.2 < width / height < 1.2:
        got = f"the principal point ({cx:g}, {cy:g}), the middle of {height} x {width}"
        fail("checked_intrinsics", where, f"of a picture of {width} x {height}", got, _swapped(is_turned))


def _swapped(is_turned: bool) -> str:
    """The remedy for width and height swapped."""
    if is_turned:
        return "The picture was turned upright as its EXIF orientation says: turn the camera with it."
    return "Width and height are swapped: give the camera of the picture as it lies."


def _check_pinhole(fields: CameraFields, where: str) -> None:
    for name, skew in fields.skews:
        if abs(skew) > _ROUNDING:
            remedy = "Undistort the picture to a camera without skew."
            fail("parse_intrinsics", where, "without skew", f"`{name}`: {skew:g}", remedy)
    remedy = "Undistort the picture, and give the K of the undistorted one alone."
    distorted = [name for name, is_distorted in fields.distortions if is_distorted]
    if distorted:
        fail("parse_intrinsics", where, "a camera without distortion", ", ".join(distorted), remedy)
    for name, model in fields.models:
        kind = _plain(model)
        no_pinhole = _NO_PINHOLE.search(kind)
        if no_pinhole or (_WITH_COEFFICIENTS.search(kind) and not fields.distortions):
            told = "" if no_pinhole else ", without its coefficients, which must be 0"
            fail("parse_intrinsics", where, "a pinhole camera", f"`{name}`: {model!r}{told}", remedy)


def _plain(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())


def _check_sizes(fields: CameraFields, K: Tensor, size: Size, where: str, is_turned: bool) -> None:
    for stated in fields.sizes:
        ways = [stated]
        ways += [] if stated.is_ordered else [stated._replace(height=stated.width, width=stated.height)]
        if not any(_fits((way.height, way.width), size) for way in ways):
            likely = next((way for way in ways if _scale(way, size) is not None), stated)
            _fail_for_size(K, size, _completed(likely, fields.sizes), where, is_turned)


def _fits(stated: tuple[float | None, float | None], size: Size) -> bool:
    return all(told is None or abs(told - side) < 0.5 for told, side in zip(stated, size, strict=True))


def _completed(stated: StatedSize, sizes: Sequence[StatedSize]) -> StatedSize:
    """A side with the other one, which another field may tell."""
    fields, height, width = stated.field, stated.height, stated.width
    for other in sizes:
        if (height is None and other.height is not None) or (width is None and other.width is not None):
            height, width = height or other.height, width or other.width
            fields += f", {other.field}"
    return StatedSize(fields, height, width)


def _fail_for_size(K: Tensor, size: Size, stated: StatedSize, where: str, is_turned: bool) -> None:
    height, width = size
    remedy = "Give the camera of this very picture."
    if _fits((stated.width, stated.height), size):
        remedy = _swapped(is_turned)
    elif (factor := _scale(stated, size)) is not None:
        scaled = _text(*(value * factor for value in _numbers(K)))
        remedy = f"If K was not scaled with the picture, it is {scaled} here; give it with this size."
    sides = ("?" if side is None else f"{side:g}" for side in (stated.width, stated.height))
    got = f"one of {' x '.join(sides)} (`{stated.field}`)"
    fail("parse_intrinsics", where, f"the camera of a picture of {width} x {height}", got, remedy)


def _scale(stated: StatedSize, size: Size) -> float | None:
    """By how much the picture is larger than stated; None if its shape is another."""
    sides = [(told, side) for told, side in zip((stated.height, stated.width), size, strict=True) if told]
    factors = [side / told for told, side in sides if told > 0]
    if not factors or len(factors) < len(sides):
        return None
    fit = all(abs(told * factors[-1] - side) <= 1 for told, side in sides)
    return factors[-1] if fit else None


def _intrinsics(fields: CameraFields) -> Tensor | None:
    """K as the file says it, of its first field; None where it is in no form that is known."""
    if any(name in fields.unreadable for name in ("K", "cam_K")):
        return None
    if fields.matrices:
        return torch.from_numpy(fields.matrices[0][1])
    told = {number.which: number.value for number in reversed(fields.numbers)}
    if len(told) < 4:
        return None
    fx, fy, cx, cy = (told[which] for which in ("fx", "fy", "cx", "cy"))
    return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)


def _check_agreement(fields: CameraFields, K: Tensor, where: str) -> None:
    """Intrinsics that are told more than once are the same."""
    told = dict(zip(("fx", "fy", "cx", "cy"), _numbers(K), strict=True))
    remedy = "Leave the wrong one out, or what is not in pixels."
    rule = "a camera that says its intrinsics alike"
    for name, matrix in fields.matrices[1:]:
        if not np.allclose(matrix, K.numpy(), rtol=0, atol=_SAME):
            got = f"`{fields.matrices[0][0]}` {K.tolist()} and `{name}` {matrix.tolist()}"
            fail("parse_intrinsics", where, rule, got, remedy)
    for name, which, value in fields.numbers:
        if not abs(value - told[which]) <= _SAME and math.isfinite(told[which]):
            got = f"`{name}`: {value:g}, and {which} {told[which]:g}"
            got += f" in `{fields.matrices[0][0]}`" if fields.matrices else ""
            fail("parse_intrinsics", where, rule, got, remedy)


def _warn_of_unknown(fields: CameraFields, source: str) -> None:
    known = (_NO_PINHOLE, _WITH_COEFFICIENTS, _PINHOLE)
    models = [name for name, model in fields.models if not any(kind.search(_plain(model)) for kind in known)]
    unknown = [*fields.unknown, *models]
    if unknown:
        names = ", ".join(f"`{name}`" for name in unknown)
        warnings.warn(f"{source}: not known of a camera, and not used: {names}.", stacklevel=3)


def _value(entry: Mapping[str, Any], name: str) -> Any:
    """What stands in a field, which may be within a table."""
    value: Any = entry
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else value
    return value


def _numbers(K: Tensor) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy."""
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])


def _text(fx: float, fy: float, cx: float, cy: float) -> str:
    return f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}"
