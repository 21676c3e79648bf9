"""The cameras of a recording: found by the name of a view, written as Anipose's TOML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from refkp._checks import fail
from refkp._files import write_text
from refkp.geometry.rig import Rig
from refkp.geometry.rotations import matrix_to_axis_angle

#: Where the centre of the first pixel is. Files of OpenCV and Anipose have it at 0.
PIXEL_CENTRE = 0.5


class Calibration(NamedTuple):
    """The cameras of a file, V of them."""

    names: tuple[str, ...]
    rig: Rig  # float64
    sizes: Tensor  # int64 [V,2], (width, height) of the pictures that K refers to
    file: Path | None = None

    def of(self, names: Sequence[str]) -> Calibration:
        """The cameras of these views, in their order, under the views' names.

        Raises:
            ValueError: a view has no camera; lists both.
        """
        found = {name: self.camera_of(name) for name in names}
        missing = [name for name, index in found.items() if index is None]
        if missing:
            rule = f"cameras for the views {', '.join(names)}"
            remedy = (
                f"Without a camera: {', '.join(missing)}. Rename them, leave those views out, or name a file."
            )
            fail("Calibration", str(self.file or "calibration"), rule, ", ".join(self.names), remedy)
        chosen = [index for index in found.values() if index is not None]
        return Calibration(tuple(names), self.rig.select(chosen), self.sizes[chosen], self.file)

    def camera_of(self, view: str) -> int | None:
        """The camera of a view: of the same name, else of the same name in other case, else with the same number.

        None where there is none, or where several would do.
        """
        return matching_name(view, self.names)


def matching_name(view: str, cameras: Sequence[str]) -> int | None:
    """Which of the cameras a view is, by the rule of `Calibration.camera_of`.

    >>> matching_name("Camera3", ("cam1", "cam3"))
    1
    """
    for key in (str, str.casefold, _number_in):
        wanted = key(view)
        matches = [index for index, name in enumerate(cameras) if wanted and key(name) == wanted]
        if matches:
            return matches[0] if len(matches) == 1 else None
    return None


def _number_in(name: str) -> str:
    """The one number in a name, without leading zeros; empty where there is none, or several."""
    numbers = re.findall(r"\d+", name)
    return str(int(numbers[0])) if len(numbers) == 1 else ""


def write_calibration(path: Path | str, calibration: Calibration) -> None:
    """Write cameras as Anipose does: integer pixel centres, rotation vectors, one table for each."""
    rig = calibration.rig
    rotations = matrix_to_axis_angle(rig.R)
    tables = []
    for index, name in enumerate(calibration.names):
        K = rig.K[index].clone()
        K[:2, 2] -= PIXEL_CENTRE
        rows = {
            "name": f'"{name}"',
            "size": _text(calibration.sizes[index]),
            "matrix": _text(K),
            "distortions": _text(rig.distortion[index]),
            "rotation": _text(rotations[index]),
            "translation": _text(rig.t[index]),
        }
        tables.append(f"[cam_{index}]\n" + "".join(f"{key} = {value}\n" for key, value in rows.items()))
    write_text(path, "\n".join([*tables, "[metadata]\n"]))


def _text(values: Tensor) -> str:
    """Numbers as TOML has them; those of a float say that they are."""
    return str(values.tolist())
