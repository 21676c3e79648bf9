"""From the estimates of a model, instant by instant, to the motion of one animal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.geometry.canonical_frame import canonical_frame
from refkp.geometry.smoothing import smooth_points, smooth_rotations
from refkp.systems.multiview.body.motion import BodyMotion
from refkp.systems.multiview.inference.filming import Instants
from refkp.systems.multiview.model.network import Cameras, MultiviewModel

#: How far an estimate is believed to be off: a joint's turn in degrees, the root in lengths of the body.
_TURN_DEG, _PLACE = 6.0, 0.03


class Posed(NamedTuple):
    """An animal over F frames, and the last of them as it was seen."""

    motion: BodyMotion  # metres; in the world where cameras are known, else in the frame of the first view
    cameras: Cameras  # [V,...], of the last frame, in the same frame
    last: Tensor  # uint8 [V,3,S,S], its pictures


@torch.no_grad()
def pose_videos(
    model: MultiviewModel, shown: Iterable[Instants], camera_indices: Tensor, *, smoothed: bool = True
) -> Posed:
    """The motion that a model sees.

    Args:
        model: trained, in evaluation mode.
        shown: instants in V views, with cameras or without.
        camera_indices: int64 [V], which of the model's cameras the views are, increasing.
        smoothed: over time, on the rotations themselves.

    Raises:
        ValueError: no instant, or a model that also scales limbs, which motions do not hold.
    """
    frames, parts, cameras = [], [], None
    for instants in shown:
        count, views = instants.images.shape[:2]
        mask = torch.ones(count, views, dtype=torch.bool)
        given = None if instants.cameras is None else _in_first(instants.cameras, count)
        found = model(instants.images, mask, camera_indices.expand(count, -1), given)
        frames.append(instants.frames)
        parts.append(found.pose)
        cameras = _last(found.cameras) if instants.cameras is None else instants.cameras
        world, last = instants.cameras, instants.images[-1]
    if cameras is None:
        fail("pose_videos", "shown", "at least one instant", "none")
    if parts[0].log_scale is not None:
        remedy = "Train with `--model.model.body.limbs ignore`."
        fail(
            "pose_videos",
            "model",
            "one without scales of limbs, which motions do not hold",
            "one with",
            remedy,
        )
    rotations = torch.cat([part.rotations for part in parts])
    trans = torch.cat([part.trans for part in parts])
    if world is not None:
        root = world.R[0].mT @ rotations[:, 0]
        rotations = torch.cat((root[:, None], rotations[:, 1:]), 1)
        trans = (trans - world.t[0]) @ world.R[0]
    size = torch.cat([part.size for part in parts if part.size is not None]).median()
    betas = torch.cat([part.betas for part in parts if part.betas is not None]).median(0).values
    if smoothed and len(trans) > 2:
        rotations, trans = _smoothed(rotations, trans, float(size) * model.body.length)
    offsets = torch.zeros(model.body.num_joints, 3)
    motion = BodyMotion(torch.cat(frames), rotations.double(), trans.double(), betas, offsets, size)
    return Posed(motion, cameras, last)


def _in_first(cameras: Cameras, count: int) -> Cameras:
    """Cameras [n,V,...] in the frame of the first."""
    moved = canonical_frame(cameras.R, cameras.t, torch.zeros(1, 3))
    return Cameras(*(part.expand(count, *part.shape) for part in (cameras.K, moved.R, moved.t)))


def _last(cameras: Cameras) -> Cameras:
    return Cameras(*(part[-1] for part in cameras))


def _smoothed(rotations: Tensor, trans: Tensor, length: float) -> tuple[Tensor, Tensor]:
    variance = torch.full(rotations.shape[:2], math.radians(_TURN_DEG) ** 2, dtype=torch.float64)
    covariance = (_PLACE * length) ** 2 * torch.eye(3, dtype=torch.float64).expand(len(trans), 3, 3)
    return smooth_rotations(rotations, variance), smooth_points(trans.double(), covariance)
