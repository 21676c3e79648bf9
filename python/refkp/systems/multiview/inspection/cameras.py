"""The cameras by themselves: are they cameras, are they those of the views, is one there twice?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch

from refkp.systems.multiview.calibration import Calibration, matching_name
from refkp.systems.multiview.inspection.findings import Finding
from refkp.systems.multiview.session import Recording

#: How far a determinant may be from 1.
_RIGID = 1e-3

#: How far from the middle of the picture, in its widths and heights, a principal point is believable.
_OFF_CENTRE = 0.25

_CALIBRATE = "Calibrate it again, or leave the view out"


def inspect_cameras(recording: Recording) -> Iterator[Finding]:
    """What can be said of the cameras of the views without a label."""
    calibration = recording.calibration
    if calibration is None:
        remedy = "Put calibration.toml, or COLMAP's cameras.txt and images.txt, into the session"
        yield Finding("no calibration", recording.name, "no file with cameras", f"{remedy}, or name one.")
        return
    found = {name: matching_name(name, calibration.names) for name in recording.view_names}
    for name, index in found.items():
        if index is None:
            known = f"no camera of this name among {', '.join(calibration.names)}"
            yield Finding(
                "view without a camera", name, known, "Rename it in the file, or leave the view out."
            )
    used = calibration.of([name for name, index in found.items() if index is not None])
    yield from _sound(used)
    yield from _duplicates(used)


def _sound(calibration: Calibration) -> Iterator[Finding]:
    rig = calibration.rig
    for index, name in enumerate(calibration.names):
        K, R = rig.K[index], rig.R[index]
        determinant = float(torch.linalg.det(R))
        if abs(determinant - 1) > _RIGID:
            yield Finding(
                "no rotation", name, f"its matrix has determinant {determinant:.4f}", f"{_CALIBRATE}."
            )
        if float(K.tril(-1).abs().max()) > 0 or float(K[2, 2]) != 1:
            yield Finding(
                "no camera matrix", name, "K is not upper triangular with a last 1", f"{_CALIBRATE}."
            )
        if float(K.diagonal().min()) <= 0:
            yield Finding(
                "no camera matrix", name, f"focal length {float(K.diagonal().min()):g}", f"{_CALIBRATE}."
            )
        off = (K[:2, 2] / calibration.sizes[index] - 0.5).abs()
        if float(off.max()) > _OFF_CENTRE:
            at = ", ".join(f"{value:.0f}" for value in K[:2, 2].tolist())
            size = "x".join(map(str, calibration.sizes[index].tolist()))
            measured = f"principal point ({at}) of pictures of {size}"
            yield Finding("K of another size", name, measured, "Scale K to the size of the videos.")


def _duplicates(calibration: Calibration) -> Iterator[Finding]:
    rig = calibration.rig
    for a, b in itertools.combinations(range(len(calibration.names)), 2):
        same = all(torch.allclose(part[a], part[b], rtol=1e-9, atol=1e-9) for part in (rig.R, rig.t))
        if same:
            where = f"{calibration.names[a]} and {calibration.names[b]}"
            which = "K, R and t" if torch.allclose(rig.K[a], rig.K[b]) else "R and t"
            measured = f"they have the same {which}"
            yield Finding(
                "duplicate cameras", where, measured, "Calibrate the wrong one again, or leave it out."
            )
