"""The angles of the joints as a table for spreadsheets and statistics."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from refkp._files import whole_file
from refkp.geometry.rotations import matrix_to_axis_angle
from refkp.systems.multiview.export.clip import Clip


def write_angles(path: Path | str, clip: Clip) -> None:
    """Write a CSV file with a row for each frame.

    The columns: `frame`, `time_s` since the first frame, `root_x_UNIT`, `root_y_UNIT`, `root_z_UNIT` of the root joint
    in the world, and for each joint `NAME_rx_deg`, `NAME_ry_deg`, `NAME_rz_deg`, its rotation vector against its parent
    (the root's against the world) in degrees, and `NAME_angle_deg`, the vector's length, from 0 at rest to 180.
    """
    _, motion = clip.in_double()
    vectors = np.degrees(matrix_to_axis_angle(motion.rotations).numpy())
    table = np.concatenate((vectors, np.linalg.norm(vectors, axis=-1, keepdims=True)), axis=-1)
    numbers = np.concatenate((motion.trans.numpy(), table.reshape(len(table), -1)), axis=1)
    with whole_file(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(_columns(clip))
        for frame, time, row in zip(motion.frames.tolist(), clip.times, numbers.tolist(), strict=True):
            rows.writerow([frame, f"{time:.9g}", *(f"{value:.9g}" for value in row)])


def _columns(clip: Clip) -> list[str]:
    root = [f"root_{axis}_{clip.unit}" for axis in "xyz"]
    parts = ("rx_deg", "ry_deg", "rz_deg", "angle_deg")
    return ["frame", "time_s", *root, *(f"{name}_{part}" for name in clip.body.joint_names for part in parts)]
