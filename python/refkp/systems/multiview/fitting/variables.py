"""What is found: the pose of every frame, and what is the animal's own; and steps from there.

Rotations move by R exp([w]), so that no step leaves them. Bones get longer along themselves: the offset of joint j is
(exp(l_j) - 1) (J_j - J_parent).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly


class Variables(NamedTuple):
    """F frames of one animal, float64."""

    rotations: Tensor  # [F,J,3,3]
    trans: Tensor  # [F,3]
    log_size: Tensor  # []
    betas: Tensor  # [B]
    log_lengths: Tensor  # [J]; the root's is 0

    def moved(self, frames: Tensor, shared: Tensor) -> Variables:
        """After a step: frames [F,3+3J] of trans and turns, shared [1+B+J] of size, shapes and lengths."""
        turns = frames[:, 3:].unflatten(1, (-1, 3))
        size, betas, lengths = shared.split((1, len(self.betas), len(self.log_lengths)))
        return Variables(
            self.rotations @ axis_angle_to_matrix(turns),
            self.trans + frames[:, :3],
            self.log_size + size[0],
            self.betas + betas,
            self.log_lengths + lengths,
        )

    def offsets(self, body: Body, rest: Tensor) -> Tensor:
        """Offsets [J,3] of the joints that lengthen the bones; rest: [J,3], joints of the shape at rest."""
        bones = rest - rest[[max(parent, 0) for parent in body.parents]]
        return bones.new_tensor(body.trans_sign) * (self.log_lengths.exp() - 1)[:, None] * bones

    def pose(self, joints: JointsOnly) -> BodyPose:
        """The same as a pose of F bodies."""
        count = len(self.trans)
        betas = self.betas.expand(count, -1)
        offsets = self.offsets(joints.body, joints.rest(self.betas[None], 1)[0])
        size = self.log_size.exp().expand(count, 1)
        return BodyPose(self.rotations, self.trans, betas, None, offsets.expand(count, -1, -1), size)
