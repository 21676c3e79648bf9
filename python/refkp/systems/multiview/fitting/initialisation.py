"""Where a fit begins: bones as long as they are in space, and each joint turned as its children stand."""

from __future__ import annotations

import torch
from torch import Tensor

from refkp.geometry.kinematics import forward_kinematics
from refkp.geometry.procrustes import align, nearest_rotation
from refkp.systems.multiview.body.posing import JointsOnly
from refkp.systems.multiview.fitting.variables import Variables

_LEAST_JOINTS = 3
#: What rest weighs beside the children of a joint when it is turned after them.
_REST_WEIGHT = 0.05
#: How far a bone may be longer or shorter than that of the body, as a logarithm, to begin with.
_MOST_LONGER = 0.7


def initial_variables(points: Tensor, joints: JointsOnly) -> Variables | None:
    """Variables near points in space.

    Args:
        points: float64 [F,J,3] of the body's joints, in the world; NaN where missing.
        joints: of the body, float64.

    Returns:
        None where no frame has three joints.
    """
    body = joints.body
    parents = list(body.parents)
    rest = joints.rest(None, 1)[0]
    known = torch.isfinite(points).all(-1)
    enough = known.sum(1) >= _LEAST_JOINTS
    if not bool(enough.any()):
        return None
    bones = rest[1:] - rest[parents[1:]]
    seen = torch.linalg.vector_norm(points[:, 1:] - points[:, parents[1:]], dim=-1).nanmedian(0).values
    ratios = seen / torch.linalg.vector_norm(bones, dim=-1)
    size = ratios.nanmedian() if bool(torch.isfinite(ratios).any()) else _size_of(points, known, rest)
    longer = (ratios / size).log().nan_to_num(0.0).clamp(-_MOST_LONGER, _MOST_LONGER)
    lengths = torch.cat((longer.new_zeros(1), longer))
    variables = Variables(
        torch.eye(3).to(points).repeat(len(points), len(parents), 1, 1),
        points.new_zeros(len(points), 3),
        size.log(),
        points.new_zeros(body.num_betas),
        lengths,
    )
    shape = _shape(variables, joints, rest)
    whole = align(size * shape.expand(len(points), -1, -1), points, known.to(points), scale=False)
    nearest = _nearest(enough)
    variables.rotations[:, 0] = whole.R[nearest]
    _turn_joints(variables, points, known, shape, parents)
    root = whole.apply(size * shape[:1].expand(len(points), -1, -1))[:, 0][nearest]
    trans = torch.where(known[:, :1] & enough[:, None], points[:, 0], root)
    return variables._replace(trans=trans)


def _shape(variables: Variables, joints: JointsOnly, rest: Tensor) -> Tensor:
    """The joints at rest with the lengths of the variables, [J,3]."""
    identity = variables.rotations[0]
    sign = rest.new_tensor(joints.body.trans_sign)
    parents = [max(parent, 0) for parent in joints.body.parents]
    offset = rest - rest[parents] + sign * variables.offsets(joints.body, rest)
    offset[0] = rest[0]
    return forward_kinematics(identity, offset, joints.body.parents).position


def _size_of(points: Tensor, known: Tensor, rest: Tensor) -> Tensor:
    """The size by the whole body, where no bone has both its ends."""
    scales = align(rest.expand(len(points), -1, -1), points, known.to(points)).scale
    return scales[known.sum(1) >= _LEAST_JOINTS].median()


def _nearest(good: Tensor) -> Tensor:
    """For every frame the nearest that is good, int64 [F]."""
    places = torch.arange(len(good))
    return good.nonzero()[:, 0][(places[:, None] - good.nonzero()[:, 0]).abs().argmin(1)]


def _turn_joints(
    variables: Variables, points: Tensor, known: Tensor, shape: Tensor, parents: list[int]
) -> None:
    """Turn each joint, parents first, so that its children stand where they are seen from it."""
    frame = variables.rotations[:, 0].clone()
    turned = {0: frame}
    for joint in range(1, len(parents)):
        above = turned[parents[joint]]
        children = [child for child, parent in enumerate(parents) if parent == joint]
        if children:
            arms = (shape[children] - shape[joint]).expand(len(points), -1, -1)
            directions = (points[:, children] - points[:, joint : joint + 1]) @ above
            seen = known[:, children] & known[:, joint : joint + 1]
            variables.rotations[:, joint] = _rotation(arms, directions, seen)
        turned[joint] = above @ variables.rotations[:, joint]


def _rotation(arms: Tensor, directions: Tensor, seen: Tensor) -> Tensor:
    """The rotation [F,3,3] that takes arms [F,n,3] nearest to directions, and of those the one nearest to none."""
    arms = arms / torch.linalg.vector_norm(arms, dim=-1, keepdim=True)
    directions = directions / torch.linalg.vector_norm(directions, dim=-1, keepdim=True).clamp(min=1e-12)
    directions = torch.where(seen[..., None], directions, 0.0)
    moment = directions.mT @ arms + _REST_WEIGHT * torch.eye(3).to(arms)
    return nearest_rotation(moment)
