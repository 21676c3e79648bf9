"""Tables of DeepLabCut (CSV, HDF5) and Lightning Pose (CSV): a column for each coordinate, named in header rows.

Both write predictions (a row for each frame: x, y, likelihood) and labels (a row for each picture: x, y) of one or
several animals. A picture's frame is the number in its name. Pixel centres are at integers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.systems.multiview.calibration import PIXEL_CENTRE
from refkp.systems.multiview.reading.labels import FileLabels
from refkp.systems.multiview.session import UNTRACKED, Labels

#: The first cells of header rows.
_LEVELS = ("scorer", "individuals", "bodyparts", "coords")

#: Of the first line of a file that may be anything, more is not read.
_LONG_LINE = 100


class _Column(NamedTuple):
    """What a column holds."""

    individual: str
    joint: str
    coordinate: str  # x, y or likelihood


class _Table(NamedTuple):
    columns: list[_Column]
    rows: list[str]  # a frame number, or the path of a picture
    values: np.ndarray  # float64 [rows, columns]


def read_table(path: Path) -> FileLabels:
    """Read the table of one view.

    Raises:
        ValueError: no such table, a coordinate without its partner, a row without a frame, a frame twice, no point.
    """
    return _labels(path, _read_csv(path) if path.suffix.lower() == ".csv" else _read_hdf(path))


def is_table(path: Path) -> bool:
    """Whether a CSV file begins as these tables do."""
    return _first_line(path).split(",")[0].strip() == _LEVELS[0]


def _first_line(path: Path) -> str:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        return file.readline(_LONG_LINE).strip()


def _read_csv(path: Path) -> _Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    headers: dict[str, list[str]] = {}
    while rows and rows[0][0].strip() in _LEVELS:
        row = rows.pop(0)
        headers[row[0].strip()] = row
    if not {"bodyparts", "coords"} <= headers.keys():
        got = (
            f"the rows {', '.join(headers)}" if headers else f"a table that begins with {_first_line(path)!r}"
        )
        remedy = "Write it again with its header, or leave the view out."
        fail("read_table", str(path), "with the header rows scorer, bodyparts, coords", got, remedy)
    width = len(headers["coords"])
    if any(len(row) != width for row in rows):
        line = next(index for index, row in enumerate(rows) if len(row) != width)
        fail(
            "read_table",
            str(path),
            f"of rows with {width} cells",
            f"{len(rows[line])} in data row {line + 1}",
        )
    first = next(index for index in range(1, width) if headers["coords"][index].strip())
    animals = headers.get("individuals", [UNTRACKED] * width)
    cells = zip(animals, headers["bodyparts"], headers["coords"], strict=True)
    columns = [_Column(*(cell.strip() for cell in column)) for column in cells][first:]
    try:
        values = np.array([[float(cell or "nan") for cell in row[first:]] for row in rows])
    except ValueError as error:
        fail("read_table", str(path), "of numbers below its header", error)
    return _Table(columns, ["/".join(row[:first]) for row in rows], values.reshape(len(rows), len(columns)))


def _read_hdf(path: Path) -> _Table:
    with named_extras():
        import pandas
        import tables  # noqa: F401  (pandas names it in an error of its own otherwise)
    try:
        frame = pandas.read_hdf(path)
    except Exception as error:  # pandas passes on whatever its readers raise
        fail("read_table", str(path), "a whole HDF5 table of DeepLabCut", f"{type(error).__name__}: {error}")
    names = list(frame.columns.names)
    if not {"bodyparts", "coords"} <= set(names):
        fail("read_table", str(path), "a table with the columns scorer, bodyparts, coords", names)
    columns = [
        _Column(str(named.get("individuals", UNTRACKED)), str(named["bodyparts"]), str(named["coords"]))
        for named in (dict(zip(names, column, strict=True)) for column in frame.columns)
    ]
    rows = ["/".join(map(str, row)) if isinstance(row, tuple) else str(row) for row in frame.index]
    return _Table(columns, rows, np.asarray(frame.to_numpy(), dtype=float))


def _labels(path: Path, table: _Table) -> FileLabels:
    if len(set(table.columns)) < len(table.columns):
        twice = next(column for column in table.columns if table.columns.count(column) > 1)
        fail("read_table", str(path), "with each column once", f"{' '.join(twice).strip()} twice")
    joints = tuple(dict.fromkeys(column.joint for column in table.columns))
    tracks = tuple(dict.fromkeys(column.individual for column in table.columns))
    frames = np.array([_frame_number(path, row) for row in table.rows], dtype=np.int64)
    if len(np.unique(frames)) < len(frames):
        twice = np.flatnonzero(np.bincount(frames) > 1)[0]
        remedy = "The frame of a picture is the last number in its name."
        fail("read_table", str(path), "of one row for each frame", f"frame {twice} twice", remedy)
    order = np.argsort(frames)
    shape = (len(frames), len(tracks), len(joints))
    planes = {name: np.full(shape, np.nan) for name in ("x", "y", "likelihood")}
    for index, column in enumerate(table.columns):
        if column.coordinate in planes:
            place = tracks.index(column.individual), joints.index(column.joint)
            planes[column.coordinate][:, place[0], place[1]] = table.values[order, index]
    xy = np.stack((planes["x"], planes["y"]), -1)
    one = np.isnan(xy).sum(-1) == 1
    if one.any():
        row, _, joint = np.argwhere(one)[0]
        got = f"{joints[joint]} with one of them in frame {frames[order][row]}"
        fail("read_table", str(path), "of points with x and y", got, "Write both, or neither.")
    kept = ~np.isnan(xy).any(-1).all((1, 2))
    if not kept.any():
        fail("read_table", str(path), "with a point in some frame", "none")
    by_user = np.full(shape[:2], not any(column.coordinate == "likelihood" for column in table.columns))
    labels = Labels(frames[order][kept], xy[kept] + PIXEL_CENTRE, planes["likelihood"][kept], by_user[kept])
    return FileLabels(labels, joints, tracks, ())


def _frame_number(path: Path, row: str) -> int:
    """The number of a row, or the last one in the name of its picture."""
    numbers: Sequence[str] = re.findall(r"\d+", PureWindowsPath(row).stem)
    if row.strip().startswith("-"):
        numbers = ()
    if not numbers:
        fail(
            "read_table",
            str(path),
            "of rows with a frame number or a picture with one in its name",
            repr(row),
        )
    return int(numbers[-1])
