"""Cameras from files: Anipose's TOML, COLMAP's text."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from refkp._checks import fail
from refkp.geometry.rig import Rig
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.calibration import PIXEL_CENTRE, Calibration
from refkp.systems.multiview.reading.colmap import read_colmap


def read_calibration(path: Path | str) -> Calibration:
    """Read cameras from Anipose's `calibration.toml`, or from a folder with COLMAP's `cameras.txt` and `images.txt`.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: not such a file, a camera without what it needs, or a camera model that is not Brown-Conrady.
    """
    path = Path(path)
    if path.is_dir():
        return read_colmap(path)
    if path.name in ("cameras.txt", "images.txt"):
        return read_calibration(path.parent)
    return _read_toml(path)


def _read_toml(path: Path) -> Calibration:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        rule = "a TOML file of Anipose, or a folder with COLMAP's cameras.txt and images.txt"
        fail("read_calibration", str(path), rule, f"{error}")
    cameras = {key: table for key, table in tables.items() if key != "metadata"}
    if not cameras or not all(isinstance(table, dict) for table in cameras.values()):
        rule = "a TOML file with a table for each camera, as Anipose writes it"
        fail("read_calibration", str(path), rule, f"the keys {', '.join(tables) or 'none'}")
    parsed = [_camera(path, key, table) for key, table in cameras.items()]
    names = tuple(camera[0] for camera in parsed)
    if len(set(names)) < len(names):
        fail("read_calibration", str(path), "of cameras with different names", ", ".join(names))
    K, distortion, rotation, translation, sizes = (
        torch.from_numpy(np.stack(column)) for column in list(zip(*parsed, strict=True))[1:]
    )
    return Calibration(names, Rig(K, distortion, axis_angle_to_matrix(rotation), translation), sizes, path)


def _camera(path: Path, key: str, table: Mapping[str, Any]) -> tuple[str, *tuple[np.ndarray, ...]]:
    """Name, K, distortion, rotation vector, translation and size of one table."""
    if table.get("fisheye"):
        remedy = "Calibrate it with the model of Brown and Conrady (`fisheye = false`)."
        fail("read_calibration", f"{path}: {key}.fisheye", "false", "true", remedy)
    K = _array(path, key, table, "matrix", (3, 3)) + np.array(
        [[0, 0, PIXEL_CENTRE], [0, 0, PIXEL_CENTRE], [0, 0, 0]]
    )
    coefficients = _numbers(path, key, table, "distortions") if "distortions" in table else np.zeros(0)
    if len(coefficients) > 5 and coefficients[5:].any():
        rule = "at most the five k1, k2, p1, p2, k3"
        fail("read_calibration", f"{path}: {key}.distortions", rule, f"{len(coefficients)} that are not 0")
    distortion = np.zeros(5)
    distortion[: min(5, len(coefficients))] = coefficients[:5]
    sizes = _array(path, key, table, "size", (2,)).astype(np.int64)
    if sizes.min() < 1:
        fail("read_calibration", f"{path}: {key}.size", "a width and a height of pixels", sizes.tolist())
    vectors = (_array(path, key, table, name, (3,)) for name in ("rotation", "translation"))
    return str(table.get("name", key)), K, distortion, *vectors, sizes


def _array(path: Path, key: str, table: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in table:
        fail("read_calibration", f"{path}: {key}", f"a table with `{name}`", f"the keys {', '.join(table)}")
    return _numbers(path, key, table, name, math.prod(shape)).reshape(shape)


def _numbers(
    path: Path, key: str, table: Mapping[str, Any], name: str, count: int | None = None
) -> np.ndarray:
    """The finite numbers of an entry, `count` of them if given."""
    try:
        values = np.asarray(table[name], dtype=float).ravel()
    except (TypeError, ValueError):
        fail("read_calibration", f"{path}: {key}.{name}", "numbers", repr(table[name]))
    if not np.isfinite(values).all() or count not in (None, len(values)):
        rule = "finite numbers" if count is None else f"{count} finite numbers"
        fail("read_calibration", f"{path}: {key}.{name}", rule, table[name])
    return values
