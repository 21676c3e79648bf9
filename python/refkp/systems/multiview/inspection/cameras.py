"""The cameras by themselves: are they cameras, are they those of the views, is one there twice?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from refkp.geometry.distortion import undistort_pixels
from refkp.systems.multiview.calibration import Calibration, matching_name
from refkp.systems.multiview.inspection.files import VideoFacts
from refkp.systems.multiview.inspection.findings import Finding
from refkp.systems.multiview.session import Recording

#: How far a determinant may be from 1.
_RIGID = 1e-3

#: How far from the middle of the picture, in its widths and heights, a principal point is believable: less than that of
#: a K for pictures of half the size.
_OFF_CENTRE = 0.2

#: How far the shapes of a picture and of its scaled copy may differ, by rounding to whole pixels.
_SAME_SHAPE = 0.02

#: Skew below this is what fitting leaves of none.
_SKEW_PX = 0.5

#: Places between the principal point and the side of the picture at which the lens is tried.
_NUM_PLACES = 200

_CALIBRATE = "Calibrate it again, or leave the view out."


def inspect_cameras(recording: Recording, videos: Mapping[str, VideoFacts]) -> Iterator[Finding]:
    """What can be said of the cameras of the views without a label.

    Args:
        recording: as read.
        videos: of its views, those that can be read.
    """
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
    for index, name in enumerate(used.names):
        yield from _pose(name, used.rig.R[index])
        K, size = used.rig.K[index], used.sizes[index]
        faults = list(_matrix(name, K))
        yield from faults or _lens(name, K, used.rig.distortion[index], size)
        yield from _size(name, K, size, videos.get(name))
    yield from _duplicates(used)


def _pose(name: str, R: Tensor) -> Iterator[Finding]:
    determinant = float(torch.linalg.det(R))
    if abs(determinant - 1) > _RIGID:
        yield Finding("no rotation", name, f"its matrix has determinant {determinant:.4f}", _CALIBRATE)


def _matrix(name: str, K: Tensor) -> Iterator[Finding]:
    if float(K.tril(-1).abs().max()) > 0 or float(K[2, 2]) != 1:
        yield Finding("no camera matrix", name, "K is not upper triangular with a last 1", _CALIBRATE)
    if float(K.diagonal().min()) <= 0:
        yield Finding("no camera matrix", name, f"focal length {float(K.diagonal().min()):g}", _CALIBRATE)
    skew = float(K[0, 1])
    if abs(skew) > _SKEW_PX:
        measured = f"K[0,1] is {skew:g} px; cameras of OpenCV, Anipose and COLMAP have no skew"
        yield Finding("skewed camera matrix", name, measured, "Set it to 0, or calibrate without skew.")


def _lens(name: str, K: Tensor, distortion: Tensor, size: Tensor) -> Iterator[Finding]:
    """The picture must come from one side of the lens's fold, at the least up to its side nearest to the axis."""
    centre, (width, height) = K[:2, 2], size.tolist()
    x, y = centre.tolist()
    sides = torch.tensor([[0.0, y], [width, y], [x, 0.0], [x, height]], dtype=K.dtype)
    nearest = sides[(sides - centre).norm(dim=-1).argmin()]
    shares = torch.linspace(0, 1, _NUM_PLACES, dtype=K.dtype)[:, None]
    places = centre + shares * (nearest - centre)
    lost = ~undistort_pixels(places, K, distortion).valid
    if bool(lost.any()):
        folds, reach = (float((place - centre).norm()) for place in (places[lost][0], nearest))
        coefficients = ", ".join(f"{value:g}" for value in distortion.tolist())
        measured = (
            f"distortion ({coefficients}) folds over {folds:.0f} px from the principal point, "
            f"the nearest side of the picture is {reach:.0f} px away"
        )
        remedy = (
            "Calibrate its lens again, with k1 alone or with a board near the sides, or leave the view out."
        )
        yield Finding("folding lens", name, measured, remedy)


def _size(name: str, K: Tensor, size: Tensor, video: VideoFacts | None) -> Iterator[Finding]:
    """K, the size in the file and the video must be of the same pictures."""
    off, stated = _off_centre(K, size), _text(size.tolist())
    at = ", ".join(f"{value:.0f}" for value in K[:2, 2].tolist())
    if video is None or list(video.size) == size.tolist():
        if off > _OFF_CENTRE:
            measured = f"principal point ({at}) of pictures of {stated}"
            yield Finding("K of another size", name, measured, "Scale K to the size of the video.")
        return
    filmed = f"the video has {_text(video.size)}"
    if _off_centre(K, torch.tensor(video.size)) < min(off, _OFF_CENTRE):
        measured = f"{stated}, but {filmed}, and so has K by its principal point ({at})"
        remedy = f"Write {_text(video.size)} as its size into the file; K stays as it is."
        yield Finding("wrong size in the file", name, measured, remedy)
        return
    scaled = abs(video.size[0] * int(size[1]) / (video.size[1] * int(size[0])) - 1) < _SAME_SHAPE
    remedy = "Scale K and size to those of the video." if scaled else "Calibrate with pictures of that size."
    yield Finding("K of another size", name, f"calibrated for {stated}, {filmed}", remedy)


def _off_centre(K: Tensor, size: Tensor) -> float:
    """How far the principal point is from the middle of a picture, in its widths or heights, whichever is more."""
    return float((K[:2, 2] / size - 0.5).abs().max())


def _text(size: list[int] | tuple[int, int]) -> str:
    return "x".join(map(str, size))


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
