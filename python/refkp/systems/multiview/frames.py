"""One synchronised instant of a recording: the pictures and labels of all views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refkp._checks import fail
from refkp.data.video import Video
from refkp.systems.multiview.session import Observations, Recording, View, chosen_track, observations


class SynchronisedFrame(NamedTuple):
    """What V views saw at the same instant."""

    number: int  # of the videos
    names: tuple[str, ...]
    pictures: tuple[NDArray[np.uint8] | None, ...]  # [H,W,3] RGB; None for a view without a video
    sizes: tuple[tuple[int, int], ...]  # (width, height) of the pictures; (0, 0) where nothing tells it
    xy: np.ndarray  # float64 [V,J,2] pixels; NaN where missing
    score: np.ndarray  # float64 [V,J]; NaN where unknown


def read_frame(recording: Recording, number: int, track: str | None = None) -> SynchronisedFrame:
    """Read an instant of a recording, pictures included.

    Args:
        recording: as read.
        number: of the frame in the videos; it need not be labelled.
        track: which animal, where there are several.

    Raises:
        ValueError: a number that is not in a video, or several animals and no choice.
    """
    if number < 0:
        fail("read_frame", "number", "at least 0", number)
    seen = observations(recording, chosen_track(recording, track))
    return with_labels(recording, seen, number, [read_picture(view, number) for view in recording.views])


def read_picture(view: View, number: int) -> NDArray[np.uint8] | None:
    """A picture of one view: uint8 [H,W,3] RGB; None without a video.

    Raises:
        ValueError: a video that is none, or a frame that it does not have.
    """
    if view.video is None:
        return None
    with Video(view.video) as video:
        return video.frame(number)


def with_labels(
    recording: Recording, seen: Observations, number: int, pictures: Sequence[NDArray[np.uint8] | None]
) -> SynchronisedFrame:
    """An instant of V views from their pictures and the labels of one animal in all frames."""
    row = int(np.searchsorted(seen.frames, number))
    is_labelled = row < len(seen.frames) and seen.frames[row] == number
    xy = seen.xy[row] if is_labelled else np.full(seen.xy.shape[1:], np.nan)
    score = seen.score[row] if is_labelled else np.full(seen.score.shape[1:], np.nan)
    names = recording.view_names
    sizes = tuple(_size(recording, name, picture) for name, picture in zip(names, pictures, strict=True))
    return SynchronisedFrame(number, names, tuple(pictures), sizes, xy, score)


def _size(recording: Recording, name: str, picture: NDArray[np.uint8] | None) -> tuple[int, int]:
    if picture is not None:
        return picture.shape[1], picture.shape[0]
    index = None if recording.calibration is None else recording.calibration.camera_of(name)
    if recording.calibration is None or index is None:
        return 0, 0
    width, height = recording.calibration.sizes[index].tolist()
    return width, height
