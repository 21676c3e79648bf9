"""COLMAP's text model: `cameras.txt` and `images.txt`. Pixel centres are at +0.5 there too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np
import torch

from refkp._checks import fail
from refkp.geometry.rig import Rig
from refkp.geometry.rotations import quaternion_to_matrix
from refkp.systems.multiview.calibration import Calibration

#: Camera model -> what its parameters are.
_MODELS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
}


class _Camera(NamedTuple):
    K: np.ndarray  # [3,3]
    distortion: np.ndarray  # [5]
    size: np.ndarray  # int64 [2]


def read_colmap(folder: Path) -> Calibration:
    """One camera for each picture of a COLMAP text model, named by the picture's folder, or else by its file.

    Raises:
        FileNotFoundError: one of the two files is not there.
        ValueError: a line that is none of COLMAP's, a camera model that is not of Brown and Conrady, or pictures that
            do not give each view one camera.
    """
    cameras = {fields[0]: _camera(folder, fields) for fields in _lines(folder / "cameras.txt")}
    images = _images(folder / "images.txt")
    names = _view_names([fields[9] for fields in images])
    if len(set(names)) < len(names):
        rule = "with one picture for each view (a rig that does not move)"
        fail(
            "read_calibration",
            str(folder / "images.txt"),
            rule,
            f"{len(names)} pictures of {len(set(names))} views",
        )
    poses = np.array([_numbers(folder / "images.txt", fields[1:8]) for fields in images])
    for fields, pose in zip(images, poses, strict=True):
        if not pose[:4].any():
            fail(
                "read_calibration",
                str(folder / "images.txt"),
                "of rotations",
                f"QW to QZ of 0 for {fields[9]}",
            )
    missing = {fields[8] for fields in images} - cameras.keys()
    if missing:
        fail("read_calibration", str(folder / "images.txt"), "of cameras in cameras.txt", ", ".join(missing))
    used = [cameras[fields[8]] for fields in images]
    K, distortion, sizes = (torch.from_numpy(np.stack(column)) for column in zip(*used, strict=True))
    R = quaternion_to_matrix(torch.from_numpy(poses[:, :4]))
    return Calibration(names, Rig(K, distortion, R, torch.from_numpy(poses[:, 4:])), sizes, folder)


def _images(path: Path) -> list[list[str]]:
    """The lines of the pictures; each is followed by one of points, which may be empty."""
    if not path.is_file():
        remedy = "Write COLMAP's model as text: both files belong together."
        fail("read_calibration", str(path), "there, beside cameras.txt", "no such file", remedy)
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    images = [line.split(maxsplit=9) for line in lines[::2] if line.strip()]
    if not images or any(len(fields) != 10 for fields in images):
        fail("read_calibration", str(path), "of lines ID QW QX QY QZ TX TY TZ CAMERA NAME", f"{lines[:1]}")
    return images


def _camera(folder: Path, fields: Sequence[str]) -> _Camera:
    path, model = folder / "cameras.txt", fields[1] if len(fields) > 1 else ""
    if model not in _MODELS:
        fail("read_calibration", str(path), f"of camera models {', '.join(_MODELS)}", repr(model))
    values = _numbers(path, fields[2:])
    if len(values) != 2 + len(_MODELS[model]):
        rule = f"ID {model} WIDTH HEIGHT {' '.join(_MODELS[model])}"
        fail("read_calibration", str(path), rule, " ".join(fields))
    if min(values[:2]) < 1:
        fail("read_calibration", str(path), "of pictures with a width and a height", " ".join(fields))
    named = dict(zip(_MODELS[model], values[2:], strict=True))
    if any(named.get(name) for name in ("k4", "k5", "k6")):
        fail("read_calibration", str(path), "of cameras with k4 = k5 = k6 = 0", " ".join(fields))
    K = np.array(
        [
            [named.get("fx", named.get("f")), 0, named["cx"]],
            [0, named.get("fy", named.get("f")), named["cy"]],
            [0, 0, 1],
        ],
        dtype=float,
    )
    distortion = np.array([named.get(name, 0.0) for name in ("k1", "k2", "p1", "p2", "k3")])
    return _Camera(K, distortion, np.array(values[:2], dtype=np.int64))


def _lines(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.split()


def _numbers(path: Path, words: Sequence[str]) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = [math.nan]
    if not np.isfinite(numbers).all():
        fail("read_calibration", str(path), "of finite numbers where COLMAP has numbers", " ".join(words))
    return numbers


def _view_names(pictures: Sequence[str]) -> tuple[str, ...]:
    """The folders of the pictures where they tell them apart, else the names of the files without their endings."""
    paths = [PureWindowsPath(name) for name in pictures]  # takes both kinds of slashes
    folders = tuple(path.parent.name for path in paths)
    if len(set(folders)) == len(folders) and all(folders):
        return folders
    return tuple(path.stem for path in paths)
