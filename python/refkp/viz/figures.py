"""Figures to picture files, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refkp._files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Pixels an inch of every figure that is written or embedded.
DPI = 110


def write_figure(figure: Figure, path: Path | str) -> None:
    """Write a matplotlib figure as the kind of picture that the name says, e.g. ".png"; missing folders are made."""
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI)
