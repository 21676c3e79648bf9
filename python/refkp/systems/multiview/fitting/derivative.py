"""How the joints of a body move with what poses it, in closed form.

Joint j is sum_k y_jk over the joints k that carry it (`JointsOnly`), y_jk its part that moves with joint k and m_jk the
share of it. A turn of joint i by w in its own frame moves all parts that hang on i by G_i w about i:

    d x_j / d w_i = -[sum_{k on i} (y_jk - m_jk position_i)]x G_i

and a longer bone to i moves them along it. Shapes are linear but for the turns of the pose; their columns are taken
by forward differences of the model itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from refkp.geometry.kinematics import descendants
from refkp.geometry.rotations import cross_matrix
from refkp.systems.multiview.body.posing import JointParts, JointsOnly
from refkp.systems.multiview.fitting.variables import Variables

_BETA_STEP = 1e-4


class JointDerivative(NamedTuple):
    """Of the joints in the world, with respect to a step of `Variables.moved`."""

    joints: Tensor  # [F,J,3]
    by_frame: Tensor  # [F,J,3,3+3J]
    by_shared: Tensor  # [F,J,3,1+B+J]


@torch.no_grad()
def joint_derivative(variables: Variables, joints: JointsOnly) -> JointDerivative:
    """The joints and their derivatives."""
    pose = variables.pose(joints)
    size = variables.log_size.exp()
    parts = joints.parts(pose)
    hangs = descendants(joints.body.parents).to(size)[:, joints.carriers]  # [I,J,C]
    moved = torch.einsum("ijk,fjkc->fjic", hangs, parts.points)
    mass = torch.einsum("ijk,jk->ji", hangs, joints.mass)
    arm = moved - mass[None, ..., None] * parts.frames.position[:, None]
    turns = -(cross_matrix(arm) @ parts.frames.linear[:, None])  # [F,J,I,3,3]
    along = mass[None, ..., None] * _bones(variables, joints, parts)[:, None]  # [F,J,I,3]
    by_turn = size * (turns - turns[:, :1]).permute(0, 1, 3, 2, 4).flatten(3)
    by_length = size * (along - along[:, :1]).transpose(2, 3)
    world = parts.world(pose)
    by_trans = torch.eye(3).to(size).expand(*world.shape[:2], 3, 3)
    about_root = world - variables.trans[:, None]
    by_shared = torch.cat((about_root[..., None], _by_betas(variables, joints, world), by_length), dim=-1)
    return JointDerivative(world, torch.cat((by_trans, by_turn), dim=-1), by_shared)


def _bones(variables: Variables, joints: JointsOnly, parts: JointParts) -> Tensor:
    """Where the joint goes as its bone gets longer, in the body's frame: [F,J,3], 0 for the root."""
    parents = list(joints.body.parents)
    rest = joints.rest(variables.betas[None], 1)[0]
    bones = variables.log_lengths.exp()[1:, None] * (rest[1:] - rest[parents[1:]])
    turned = (parts.frames.linear[:, parents[1:]] @ bones[None, ..., None])[..., 0]
    return torch.cat((torch.zeros_like(turned[:, :1]), turned), dim=1)


def _by_betas(variables: Variables, joints: JointsOnly, world: Tensor) -> Tensor:
    """[F,J,3,B]."""
    columns = []
    for number in range(len(variables.betas)):
        betas = variables.betas.clone()
        betas[number] += _BETA_STEP
        columns.append((joints(variables._replace(betas=betas).pose(joints)) - world) / _BETA_STEP)
    return torch.stack(columns, dim=-1) if columns else world.new_zeros(*world.shape, 0)
