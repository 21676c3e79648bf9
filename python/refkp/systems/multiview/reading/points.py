"""Points in space that came with a session, and their projections: `points3d.h5` and `reprojections*.h5`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from refkp._checks import fail
from refkp._extras import named_extras
from refkp._files import whole_file
from refkp.data.hdf5 import hdf5_file
from refkp.systems.multiview.calibration import PIXEL_CENTRE
from refkp.systems.multiview.session import SpacePoints, SpaceProjections

if TYPE_CHECKING:
    import h5py


def read_points(path: Path, num_joints: int) -> SpacePoints:
    """Read `tracks` [F,A,J,3], and `frames`, the range of video frames that the rows stand for.

    A row of exact zeros is a point that is missing, as NaN is.

    Raises:
        ValueError: no such file, another number of joints, or of frames than the range says.
    """
    with hdf5_file(path, "read_points") as file:
        xyz = _tracks(path, file, "read_points", (num_joints, 3))
        first, end = _range(path, file, len(xyz))
    if end - first != len(xyz):
        fail("read_points", str(path), f"of {end - first} rows, as `frames` says", len(xyz))
    xyz[(xyz == 0).all(-1)] = np.nan
    return SpacePoints(xyz, first, path)


def write_points(
    path: Path,
    xyz: np.ndarray,
    first_frame: int,
    described: Mapping[str, tuple[np.ndarray, str]] | None = None,
) -> None:
    """Write points [F,A,J,3] as `read_points` reads them; NaN stays NaN.

    Args:
        path: of the file.
        xyz: float64.
        first_frame: the video frame of the first row.
        described: more data sets by name, each with what it is.
    """
    with named_extras():
        import h5py
    points = (
        np.asarray(xyz, dtype=np.float64),
        "Triangulated points, [frame, animal, joint, xyz]; NaN where missing.",
    )
    with whole_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        for name, (values, text) in {"tracks": points, **(described or {})}.items():
            file.create_dataset(name, data=values, compression="gzip").attrs["Description"] = text
        file["frames"] = np.array([first_frame, first_frame + len(xyz)])


def write_projections(path: Path, xy: Mapping[str, np.ndarray]) -> None:
    """Write ideal pinhole pixels [F,A,J,2] of views by name as `read_projections` reads them."""
    with named_extras():
        import h5py
    with whole_file(path) as unfinished, h5py.File(unfinished, "w") as file:
        for name, values in xy.items():
            file.create_dataset(name, data=values - PIXEL_CENTRE, compression="gzip")


def read_projections(path: Path, num_joints: int) -> SpaceProjections:
    """Read one dataset [F,A,J,2] for each view: ideal pinhole pixels, centres at integers in the file."""
    with hdf5_file(path, "read_projections") as file:
        names = [name for name in file if getattr(file[name], "ndim", 0) == 4]
        if not names:
            fail("read_projections", str(path), "with a dataset [F,A,J,2] for each view", list(file))
        xy = {
            name: _checked(path, "read_projections", name, file[name][()], (num_joints, 2)) for name in names
        }
    return SpaceProjections({name: values + PIXEL_CENTRE for name, values in xy.items()}, path)


def _tracks(path: Path, file: h5py.File, function: str, trailing: tuple[int, int]) -> np.ndarray:
    if "tracks" not in file:
        fail(function, str(path), "a file with `tracks`", f"the datasets {', '.join(file) or 'none'}")
    return _checked(path, function, "tracks", file["tracks"][()], trailing)


def _checked(path: Path, function: str, name: str, values: object, trailing: tuple[int, int]) -> np.ndarray:
    array = np.array(values, dtype=float)
    if array.ndim != 4 or array.shape[2:] != trailing:
        rule = f"with `{name}` of [F,A,{trailing[0]},{trailing[1]}]"
        fail(function, str(path), rule, list(array.shape), "Its joints are not those of the labels.")
    return array


def _range(path: Path, file: h5py.File, num_rows: int) -> tuple[int, int]:
    if "frames" not in file:
        return 0, num_rows
    values = np.asarray(file["frames"][()]).ravel()
    if len(values) != 2:
        fail("read_points", str(path), "with `frames` of two numbers, first and end", values.tolist())
    return int(values[0]), int(values[1])
