"""Lengths: do the points that came with a session, and its calibration board, have the unit of its cameras?"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from refkp._extras import named_extras
from refkp.systems.multiview.inspection.errors import at_frames
from refkp.systems.multiview.inspection.findings import Finding
from refkp.systems.multiview.session import Recording

#: Lengths may differ by this factor: points that were smoothed, joints that are not where they were.
_SAME = 1.2

#: Frames that are looked at, evenly over the recording: every distance in every frame would be many.
_NUM_FRAMES = 200

_ONE_UNIT = "Write both in one unit."


def inspect_units(
    recording: Recording, frames: np.ndarray, points: np.ndarray, animal: int
) -> Iterator[Finding]:
    """Compare points [F,J,3] triangulated here, at frame numbers [F], with those of the file; and the board."""
    if recording.points is not None:
        rows = np.linspace(0, len(frames) - 1, min(_NUM_FRAMES, len(frames))).round().astype(int)
        given = at_frames(recording.points, frames[rows], animal)
        yield from _compared(recording.points.file, _lengths(given), _lengths(points[rows]))
    yield from _board(recording.folder)


def _lengths(points: np.ndarray) -> np.ndarray:
    """Distances of the joints from each other [F,J,J]."""
    return np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)


def _compared(path: Path, given: np.ndarray, ours: np.ndarray) -> Iterator[Finding]:
    known = np.isfinite(given) & np.isfinite(ours) & (ours > 0) & (given > 0)
    if not known.any():
        return
    factor = float(np.median(given[known] / ours[known]))
    if not 1 / _SAME < factor < _SAME:
        measured = f"the animal in it is {factor:.3g} times as large as the cameras of the session see it"
        yield Finding("wrong unit", path.name, measured, _ONE_UNIT)


def _board(folder: Path) -> Iterator[Finding]:
    """The distance of neighbouring corners of the board, as the calibration placed them, against its square."""
    board, corners = folder / "board.toml", folder / "calibration.metadata.h5"
    if not (board.is_file() and corners.is_file()):
        return
    with named_extras():
        import h5py
    try:
        square = float(tomllib.loads(board.read_text(encoding="utf-8"))["square_length"])
        with h5py.File(corners) as file:
            placed = np.asarray(file["triangulated_corners"][()], dtype=float)
    except (KeyError, ValueError, OSError, RuntimeError, tomllib.TOMLDecodeError):
        return  # files of other boards; nothing of the session depends on them
    distance = _lengths(placed)
    distance[:, range(distance.shape[1]), range(distance.shape[1])] = np.nan
    nearest = float(np.nanmedian(np.nanmin(distance, 1)))
    if square > 0 and not 1 / _SAME < nearest / square < _SAME:
        measured = f"squares of {square:g} are {nearest:.4g} wide in space"
        yield Finding("wrong unit", board.name, measured, _ONE_UNIT)
