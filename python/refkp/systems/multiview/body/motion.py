"""One animal over time: what fitting and inference give, and what files of poses hold."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from refkp.systems.multiview.body.posing import BodyPose


class BodyMotion(NamedTuple):
    """F frames of one body. Its shape and the lengths of its bones are those of the animal, the same in all frames."""

    frames: Tensor  # int64 [F], numbers of video frames, increasing
    rotations: Tensor  # [F,J,3,3], of each joint against its parent; the root's against the world
    trans: Tensor  # [F,3], where the root joint is, in the unit of the world
    betas: Tensor  # [nb]
    offsets: Tensor  # [J,3], of the joints, in the unit of the body
    size: Tensor  # [], unit of the world in one of the body

    def pose(self) -> BodyPose:
        """The same as a pose of F bodies."""
        count = len(self.frames)
        return BodyPose(
            self.rotations,
            self.trans,
            self.betas.expand(count, -1),
            None,
            self.offsets.expand(count, -1, -1),
            self.size.expand(count, 1),
        )
