"""Intrinsics in files, and whether they can belong to their picture: for photos, BOP folders and shards alike.

A camera that contradicts its picture gives poses that are wrong without a sign of it, so it is an error that says what
contradicts and, where that can be told, the numbers that would fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.systems.pose.data.json_values import parse_json

Size = tuple[int, int]  # height, width

#: Shorter focal lengths, as shares of the picture's sides, would see 157 degrees and more.
LEAST_FOCAL_LENGTH = 0.1

#: How far from the picture the principal point may be, as a share of its sides: that of a crop is off its middle.
FARTHEST_PRINCIPAL_POINT = 0.5

#: K is of a picture of another size if its principal point is the middle of one this many times as large, or as small.
ANOTHER_SCALE = 1.5

_FORMS = '{"K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]}, {"fx", "fy", "cx", "cy"} or {"cam_K": [9 numbers]}'
_ROUNDING = 1e-3  # pixels: what is left of a zero by arithmetic in float32
_DISTORTION = (
    *("dist", "distortion", "distortions", "dist_coeffs", "dist_coeff", "distCoeffs", "coeffs", "D"),
    *("distortion_coefficients", "distortion_coeffs", "distortion_params", "cam_model"),
    *("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"),
)


def read_intrinsics(path: Path | str, size: Size) -> Tensor:
    """K [3,3] float64 of a JSON file for a picture of `size` (height, width).

    Three forms are read: {"K": [[...], [...], [...]]}; {"fx", "fy", "cx", "cy"}, the `camera.json` of BOP data
    sets (its `depth_scale` is not needed here); and {"cam_K": [9 numbers]}, an entry of `scene_camera.json`.

    Raises:
        ValueError: no such file, another form, or see `parse_intrinsics`.
    """
    path = Path(path)
    if not path.is_file():
        fail("read_intrinsics", "camera", "a JSON file", f"{str(path)!r}, which is not there")
    return parse_intrinsics(parse_json(path.read_bytes(), str(path)), size, str(path))


def parse_intrinsics(entry: Any, size: Size, where: str) -> Tensor:
    """K [3,3] float64 of what a file says of a camera, for a picture of `size` (height, width).

    `width` and `height`, or `resolution`, tell which picture K belongs to, where the file has them.

    Raises:
        ValueError: none of the forms of `read_intrinsics`; coefficients of a distortion; the size of another picture;
            or see `checked_intrinsics`.
    """
    content = entry if isinstance(entry, Mapping) else {}
    K = _intrinsics(content)
    if K is None:
        got = sorted(content) if isinstance(entry, Mapping) else type(entry).__name__
        fail("parse_intrinsics", where, f"of the form {_FORMS}", got)
    distorted = [name for name in _DISTORTION if _has_number(content.get(name))]
    if distorted:
        remedy = "Undistort the picture, and give the K of the undistorted one alone."
        fail("parse_intrinsics", where, "a camera without distortion", ", ".join(distorted), remedy)
    stated = _stated_size(content, size)
    if stated is not None and stated != size:
        _fail_for_size(K, size, stated, where)
    return checked_intrinsics(K, size, where, is_stated=stated is not None)


def checked_intrinsics(K: Tensor, size: Size, where: str, *, is_stated: bool = False) -> Tensor:
    """K [3,3] itself, its zeros exact, once it can belong to a picture.

    Args:
        K: float64 [3,3], pixels.
        size: (height, width) of the picture.
        where: names K in errors.
        is_stated: somebody says that K belongs to this size; else it must not look like that of another.

    Raises:
        ValueError: written column by column, a last row other than 0 0 1, focal lengths that are not positive or are
            too short to be pixels, skew, a principal point far outside, or that of a picture of another size.
    """
    _check_form(K, where)
    _check_focal_lengths(K, size, where)
    _check_principal_point(K, size, where, is_stated)
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
    is_turned = abs(2 * cx / height - 1) < 0.05 and abs(2 * cy / width - 1) < 0.05
    if is_turned and not is_stated and not 1 / 1.2 < width / height < 1.2:
        remedy = "The picture was turned upright as its EXIF orientation says: turn the camera with it."
        fail("checked_intrinsics", where, rule, f"{got}, the middle of {height} x {width}", remedy)


def _fail_for_size(K: Tensor, size: Size, stated: Size, where: str) -> None:
    (height, width), (stated_height, stated_width) = size, stated
    remedy = "Give the camera of this very picture."
    factor = width / max(stated_width, 1)
    if (stated_width, stated_height) == size:
        remedy = "The picture was turned upright as its EXIF orientation says: turn the camera with it."
    elif abs(stated_height * factor - height) <= 1:
        scaled = _text(*(value * factor for value in _numbers(K)))
        remedy = f"If K was not scaled with the picture, it is {scaled} here; give it with this size."
    got = f"one of {stated_width} x {stated_height}"
    fail("parse_intrinsics", where, f"the camera of a picture of {width} x {height}", got, remedy)


def _intrinsics(content: Mapping[str, Any]) -> Tensor | None:
    """K as the file says it; None where it is in no form that is known."""
    try:
        if "K" in content or "cam_K" in content:
            numbers = content["K"] if "K" in content else content["cam_K"]
            return torch.tensor(numbers, dtype=torch.float64).reshape(3, 3)
        fx, fy, cx, cy = (float(content[name]) for name in ("fx", "fy", "cx", "cy"))
    except (KeyError, TypeError, ValueError, RuntimeError):
        return None
    return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], dtype=torch.float64)


def _stated_size(content: Mapping[str, Any], size: Size) -> Size | None:
    """(height, width) of the picture that K belongs to; a `resolution` is read in either order."""
    stated: Any = content.get("resolution")
    if "width" in content and "height" in content:
        stated = content["height"], content["width"]
    try:
        height, width = (round(float(side)) for side in stated)
    except (TypeError, ValueError, OverflowError):
        return None
    is_swapped = "width" not in content and (width, height) == size
    return size if is_swapped else (height, width)


def _has_number(value: Any) -> bool:
    """Whether a number that is not zero stands somewhere in a JSON value."""
    if isinstance(value, Mapping):
        return any(map(_has_number, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_number, value))
    return isinstance(value, (int, float)) and value != 0


def _numbers(K: Tensor) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy."""
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])


def _text(fx: float, fy: float, cx: float, cy: float) -> str:
    return f"fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}"
