"""Tables of bones: skeletons as people write them, in CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from refkp._checks import fail
from refkp.systems.multiview.body.csv_rows import csv_rows
from refkp.systems.multiview.body.skeleton import Bone, axes_along

#: Between one bone of a fan and the next, around the direction in which they fan out: the golden angle.
_TURN = math.pi * (3 - math.sqrt(5))


def read_skeleton(path: Path | str) -> list[Bone]:
    """Bones of a CSV file with the columns `joint` and `parent`, and either `x,y,z` of the joints or `length`.

    `radius`, `start_radius` and `limit_deg` may stand beside them. From lengths alone the bones of a joint fan out from
    the direction of its own. Rows may come in any order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: columns that are missing, a number that is none, parents that form no tree.
    """
    columns, rows = csv_rows(path, "read_skeleton")
    with_places = {"x", "y", "z"} <= set(columns)
    if not {"joint", "parent"} <= set(columns) or not (with_places or "length" in columns):
        rule = "with the columns joint, parent, and x,y,z or length"
        fail("read_skeleton", str(path), rule, ", ".join(columns) or "an empty file")
    ordered = _ordered(rows, str(path))
    places: dict[str, np.ndarray] = {}
    for row in ordered:
        if with_places:
            places[row["joint"]] = np.array([_number(row, name, str(path)) for name in "xyz"])
        else:
            places[row["joint"]] = _fanned(row, ordered, places, str(path))
    return [
        Bone(
            row["joint"],
            row["parent"],
            tuple(places[row["joint"]].tolist()),
            _number(row, "radius", str(path), 0.0),
            _number(row, "limit_deg", str(path), 180.0),
            _number(row, "start_radius", str(path), 0.0),
        )
        for row in ordered
    ]


def _ordered(rows: list[dict[str, str]], path: str) -> list[dict[str, str]]:
    """The rows with every parent before its children."""
    names = [row["joint"] for row in rows]
    if "" in names or len(set(names)) < len(names):
        fail("read_skeleton", path, "with a different name for each joint", ", ".join(map(repr, names)))
    roots = [row for row in rows if not row["parent"]]
    if len(roots) != 1:
        fail("read_skeleton", path, "with one joint without a parent", [row["joint"] for row in roots])
    ordered, waiting = roots, [row for row in rows if row["parent"]]
    while waiting:
        known = {row["joint"] for row in ordered}
        ready = [row for row in waiting if row["parent"] in known]
        if not ready:
            got = f"{waiting[0]['joint']!r} with the parent {waiting[0]['parent']!r}"
            fail("read_skeleton", path, "a tree: every parent is a joint that hangs on the root", got)
        ordered, waiting = ordered + ready, [row for row in waiting if row not in ready]
    return ordered


def _number(row: Mapping[str, str], name: str, path: str, default: float | None = None) -> float:
    text = row.get(name, "")
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        fail("read_skeleton", path, f"with a number as {name} of {row['joint']!r}", repr(text))
    return value


def _fanned(
    row: Mapping[str, str],
    rows: Sequence[Mapping[str, str]],
    places: Mapping[str, np.ndarray],
    path: str,
) -> np.ndarray:
    """The place of a joint whose bone has a length and no direction."""
    if not row["parent"]:
        return np.zeros(3)
    length = _number(row, "length", path)
    if length <= 0:
        fail("read_skeleton", path, f"with a length above 0 of {row['joint']!r}", f"{length:g}")
    siblings = [other["joint"] for other in rows if other["parent"] == row["parent"]]
    above = next(other["parent"] for other in rows if other["joint"] == row["parent"])
    onwards = places[row["parent"]] - places[above] if above else np.array([1.0, 0.0, 0.0])
    along, across, up = axes_along(onwards)
    number = siblings.index(row["joint"])
    tilt = (
        math.radians(60) * number / max(1, len(siblings) - 1) if above else math.pi * number / len(siblings)
    )
    turn = _TURN * number
    direction = math.cos(tilt) * along + math.sin(tilt) * (math.cos(turn) * across + math.sin(turn) * up)
    return places[row["parent"]] + length * direction
