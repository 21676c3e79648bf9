"""Instants of videos as a model takes them: undistorted, cropped and resized in one warp."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.data.video import Video
from refkp.geometry.rig import Rig
from refkp.ops import camera_warp
from refkp.systems.multiview.calibration import Calibration
from refkp.systems.multiview.crops import crop_box, crop_intrinsics
from refkp.systems.multiview.model.network import Cameras


class Instants(NamedTuple):
    """n instants in V views."""

    frames: Tensor  # int64 [n]
    images: Tensor  # uint8 [n,V,3,S,S]
    cameras: Cameras | None  # of the pictures, from the world: K [V,3,3], R [V,3,3], t [V,3] metres


class Filming(NamedTuple):
    """How a model was shown its pictures."""

    size: int
    crop: str  # whole or centred
    undistorted: bool


def instants(
    videos: Mapping[str, Path],
    filming: Filming,
    *,
    calibration: Calibration | None = None,
    metres: float = 1.0,
    frames: Sequence[int] | None = None,
    batch: int = 16,
) -> Iterator[Instants]:
    """All instants of synchronised videos, some at a time.

    Args:
        videos: view -> file, in the order of the views.
        filming: how pictures are made.
        calibration: of these views, in their order; None: cameras that are not known.
        metres: in a unit of the calibration.
        frames: numbers of video frames; None: those that all videos have.
        batch: instants at a time.

    Raises:
        ValueError: a crop that needs labels, a lens that must be known, or a frame that a video does not have.
    """
    if filming.crop not in ("whole", "centred"):
        rule = "'whole' or 'centred' for a model that is shown videos without labels"
        fail("instants", "crop", rule, filming.crop, "Preprocess with `--crop whole`, and train on that.")
    with ExitStack() as stack:
        opened = [stack.enter_context(Video(path)) for path in videos.values()]
        numbers = list(range(min(video.num_frames for video in opened)) if frames is None else frames)
        affines = torch.stack([crop_box(filming.crop, video.size).affine(filming.size) for video in opened])
        rig = None if calibration is None else calibration.rig.to(torch.float64)
        cameras = None if rig is None else _cameras(rig, affines, metres)
        for first in range(0, len(numbers), batch):
            chosen = numbers[first : first + batch]
            pictures = [_shown(opened, number, rig, affines, filming) for number in chosen]
            yield Instants(torch.tensor(chosen), torch.stack(pictures), cameras)


def _cameras(rig: Rig, affines: Tensor, metres: float) -> Cameras:
    return Cameras(crop_intrinsics(affines, rig.K).float(), rig.R.float(), (metres * rig.t).float())


def _shown(
    videos: Sequence[Video], number: int, rig: Rig | None, affines: Tensor, filming: Filming
) -> Tensor:
    """Uint8 [V,3,S,S]."""
    straight = filming.undistorted and rig is not None
    shown = []
    for view, video in enumerate(videos):
        image = torch.from_numpy(video.frame(number)).permute(2, 0, 1)[None]
        K = rig.K[view] if straight and rig is not None else torch.eye(3, dtype=torch.float64)
        lens = rig.distortion[view] if straight and rig is not None else torch.zeros(5, dtype=torch.float64)
        size = (filming.size, filming.size)
        shown.append(camera_warp(image, K[None], lens[None], affines[view][None], size=size)[0])
    return torch.stack(shown)
