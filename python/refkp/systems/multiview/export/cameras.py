"""The cameras of a recording as JSON: nothing of them is lost, and the file says what its numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import torch

from refkp._checks import require_choice
from refkp._files import write_json
from refkp.data.units import Unit
from refkp.geometry.rig import Rig
from refkp.systems.multiview.calibration import Calibration
from refkp.systems.multiview.export.tables import Table, read_table

SCHEMA_VERSION = 1

#: What the numbers of a file mean. A file that says otherwise is not read.
_CONVENTIONS = {
    "camera_axes": "opencv: x right, y down, z forward; x_camera = R x_world + t",
    "pixel_convention": "edge: the origin is the outer corner of the first pixel, whose centre is at (0.5, 0.5)",
    "distortion_model": "brown_conrady: k1, k2, p1, p2, k3",
}


def write_cameras(path: Path | str, calibration: Calibration, unit: Unit) -> None:
    """Write the cameras of V views, each with its K, distortion, R, t and the size of its pictures.

    Args:
        path: of the JSON file.
        calibration: the cameras.
        unit: of `t`.
    """
    require_choice("write_cameras", "unit", unit, get_args(Unit))
    rig = calibration.rig
    cameras = [
        {
            "name": name,
            "size": calibration.sizes[view].tolist(),
            **{part: getattr(rig, part)[view].tolist() for part in ("K", "distortion", "R", "t")},
        }
        for view, name in enumerate(calibration.names)
    ]
    write_json(path, {"schema_version": SCHEMA_VERSION, "unit": unit, **_CONVENTIONS, "cameras": cameras})


def read_cameras(path: Path | str) -> Calibration:
    """The cameras of a file of `write_cameras`, exactly as they were.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, another convention, or a camera that is not whole.
    """
    path = Path(path)
    table = read_table("read_cameras", path)
    table.require("schema_version", SCHEMA_VERSION, "Write the cameras again with this version of refkp.")
    for key, meaning in _CONVENTIONS.items():
        table.require(key, meaning)
    cameras = table.tables("cameras")
    names = tuple(camera.text("name") for camera in cameras)
    if len(set(names)) < len(names):
        table.fail("cameras", "of different names", list(names))
    shapes = {"K": (3, 3), "distortion": (5,), "R": (3, 3), "t": (3,)}
    parts = [np.stack([camera.array(key, shape) for camera in cameras]) for key, shape in shapes.items()]
    rig = Rig(*(torch.from_numpy(part) for part in parts))
    return Calibration(names, rig, torch.from_numpy(np.stack([_size(camera) for camera in cameras])), path)


def _size(camera: Table) -> np.ndarray:
    size = camera.array("size", (2,))
    if (size != size.round()).any() or not (size.min() >= 1 and size.max() < 2**31):
        camera.fail("size", "a width and a height of pixels", size.tolist())
    return size.astype(np.int64)
