"""A clip: the motion of an animal, with what its numbers mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail, require_choice, require_finite, require_shape
from refkp.data.units import MILLIMETRES, Unit
from refkp.geometry.rotations import LARGEST_ROTATION_ERROR, rotation_error
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.motion import BodyMotion

Axis = Literal["x", "y", "z", "-x", "-y", "-z"]

#: Axis of the world that points up -> the rotation of the world that makes it y, which points up in glTF and BVH.
_Y_UP: dict[str, tuple[tuple[int, int, int], ...]] = {
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}


@dataclass(frozen=True, eq=False)
class Clip:
    """One animal over F frames.

    Args:
        body: what moves.
        motion: of F frames of this body.
        fps: video frames in a second.
        body_name: what the body is called.
        unit: the length of 1 in the world: "m", "cm" or "mm".
        up: the axis of the world that points up.

    Raises:
        ValueError: no frame, frames that do not increase, shapes that do not fit the body, values that are not finite,
            matrices that are no rotations, a size or a number of frames a second that is not above 0.
    """

    body: Body
    motion: BodyMotion
    fps: float
    body_name: str = "body"
    unit: Unit = "mm"
    up: Axis = "z"

    def __post_init__(self) -> None:
        require_choice("Clip", "unit", self.unit, tuple(MILLIMETRES))
        require_choice("Clip", "up", self.up, get_args(Axis))
        if not (math.isfinite(self.fps) and self.fps > 0):
            fail("Clip", "fps", "above 0", self.fps)
        self._check_motion()

    @property
    def times(self) -> np.ndarray:
        """Seconds since the first frame, float64 [F]."""
        frames = self.motion.frames.cpu().numpy()
        return (frames - frames[0]) / self.fps

    @property
    def y_up(self) -> np.ndarray:
        """The rotation float64 [3,3] that turns the world so that y points up."""
        return np.array(_Y_UP[self.up], dtype=np.float64)

    def in_double(self) -> tuple[Body, BodyMotion]:
        """Body and motion in float64, on the CPU, without gradients."""
        frames, *values = (value.detach().cpu() for value in self.motion)
        return self.body.to("cpu", torch.float64), BodyMotion(frames, *(value.double() for value in values))

    def _check_motion(self) -> None:
        motion, joints = self.motion, self.body.num_joints
        count = len(motion.frames)
        require_shape("Clip", "motion.frames", motion.frames, "F")
        if not count or not bool((motion.frames.diff() > 0).all()):
            fail("Clip", "motion.frames", "at least one, increasing", _told(motion.frames))
        for name, pattern in _SHAPES.items():
            value = getattr(motion, name)
            require_shape("Clip", f"motion.{name}", value, pattern, F=count, J=joints)
            require_finite("Clip", f"motion.{name}", value)
        if len(motion.betas) > self.body.num_betas:
            fail("Clip", "motion.betas", f"of at most {self.body.num_betas} shapes", len(motion.betas))
        if motion.size.dim() or not 0 < motion.size.item() < math.inf:
            fail("Clip", "motion.size", "one number above 0", motion.size.tolist())
        error = rotation_error(motion.rotations).max().item()
        if not error <= LARGEST_ROTATION_ERROR:
            fail("Clip", "motion.rotations", "rotations", f"a matrix with |R R^T - 1| up to {error:g}")


_SHAPES = {"rotations": "F,J,3,3", "trans": "F,3", "betas": "nb", "offsets": "J,3"}


def _told(frames: Tensor) -> str:
    return f"{frames[:8].tolist()}{' ...' if len(frames) > 8 else ''}"
