"""What a body head estimates, and the pose that follows from it. Source: spec multiview e.3, f.3."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp._checks import fail
from refkp.geometry.rotations import rotation_6d_to_matrix
from refkp.systems.multiview.body.components import limb_sizes
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose
from refkp.systems.multiview.model.spec import Limbs

#: What a unit of the network's output is of the logarithm of the size, and of offsets in the body's unit.
_SIZE_UNIT, _OFFSET_UNIT = 0.1, 0.01


class BodyState(NamedTuple):
    """Numbers of B bodies, as a network corrects them."""

    pose: Tensor  # [B,J,6], 6D rotations of the joints, the root's in the frame of the reference view
    betas: Tensor  # [B,nb]
    log_size: Tensor  # [B,1], in tenths, against the mean size of the training set
    limbs: Tensor  # [B,L], of scales and offsets of joints; L by `num_limb_values`

    def flat(self) -> Tensor:
        """[B,6J+nb+1+L]."""
        return torch.cat((self.pose.flatten(1), self.betas, self.log_size, self.limbs), dim=1)

    def corrected(self, by: Tensor) -> BodyState:
        """The same, with numbers [B,6J+nb+1+L] added."""
        pose, *rest = by.split([self.pose[0].numel(), *(part.shape[1] for part in self[1:])], dim=1)
        return BodyState(
            self.pose + pose.view_as(self.pose),
            *(mine + other for mine, other in zip(self[1:], rest, strict=True)),
        )


def num_limb_values(body: Body, limbs: Limbs) -> int:
    """How many numbers describe the sizes of limbs.

    Raises:
        ValueError: the body has no components, or not as many as shapes where they go together.
    """
    if limbs == "separate":
        return 6 * body.num_joints
    if limbs in ("components", "entangled_with_betas"):
        if body.scaledirs is None or body.transdirs is None:
            remedy = "Use 'ignore' or 'separate', or a body file with scaledirs and transdirs."
            fail(
                "BodyHeadSpec", "limbs", "'ignore' or 'separate' for a body without components", limbs, remedy
            )
        if limbs == "components":
            return 2 * len(body.scaledirs)
        if len(body.scaledirs) != body.num_betas:
            got = f"{len(body.scaledirs)} components and {body.num_betas} shapes"
            fail("BodyHeadSpec", "limbs", "of a body with as many components as shapes", got)
    return 0


def rest_state(body: Body, limbs: Limbs, like: Tensor) -> BodyState:
    """The body at rest, of mean shape and size, once for each row of `like`."""
    count = len(like)
    identity = like.new_tensor([1.0, 0, 0, 0, 1, 0]).expand(count, body.num_joints, 6)
    zeros = (like.new_zeros(count, n) for n in (body.num_betas, 1, num_limb_values(body, limbs)))
    return BodyState(identity, *zeros)


def pose_of(state: BodyState, body: Body, limbs: Limbs, trans: Tensor, mean_size: Tensor) -> BodyPose:
    """The pose of a state, in the frame of the reference view.

    Args:
        state: of B bodies.
        body: whose numbers these are.
        limbs: what the state says of the sizes of limbs.
        trans: [B,3], where the root joint is.
        mean_size: scalar, unit of the world in one of the body.
    """
    log_scale, offsets = _limbs(state, body, limbs)
    size = mean_size * (_SIZE_UNIT * state.log_size).exp()
    return BodyPose(rotation_6d_to_matrix(state.pose), trans, state.betas, log_scale, offsets, size)


def _limbs(state: BodyState, body: Body, limbs: Limbs) -> tuple[Tensor | None, Tensor | None]:
    if limbs == "ignore":
        return None, None
    if limbs == "separate":
        log_scale, offsets = state.limbs.unflatten(1, (2, body.num_joints, 3)).unbind(1)
        return log_scale, _OFFSET_UNIT * offsets
    weights = (state.betas,) * 2 if limbs == "entangled_with_betas" else state.limbs.chunk(2, dim=1)
    return limb_sizes(body.scaledirs, body.transdirs, *weights)  # type: ignore[arg-type]  # asked before
