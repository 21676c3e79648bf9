"""Units of length of mesh files; nothing here needs a package, so that a command can name them before it loads one."""

from __future__ import annotations

from typing import Literal

Unit = Literal["m", "cm", "mm"]

#: Unit of a mesh file -> its length in millimetres.
MILLIMETRES: dict[str, float] = {"m": 1000.0, "cm": 10.0, "mm": 1.0}


def metres(unit: Unit) -> float:
    """The length of a unit in metres.

    >>> metres("mm")
    0.001
    """
    return MILLIMETRES[unit] / MILLIMETRES["m"]
