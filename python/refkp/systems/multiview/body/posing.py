"""Vertices and joints of a body in a pose, and its joints alone without the vertices.

With shape b, rotations R, log scales s and offsets o (spec multiview e.2):

    v = vertices + shapedirs b                          J = regressor v, or rest_joints if static
    G_j = G_p [P_p R_j S_j | J_j - J_p + sign o_j]      S = diag(exp s), P = 1 if scales propagate, else S^-1
    vertex = sum_j w_j (G_j (v + posedirs (R - I)) - G_j J_j + position_j)
    joint = regressor vertices, or the position of the joint if static

The root is not scaled: its log scale is ignored, towards its children too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_shape
from refkp.geometry.kinematics import JointFrames, forward_kinematics
from refkp.systems.multiview.body.model import Body


class BodyPose(NamedTuple):
    """What moves B bodies. None: at rest, or of mean shape."""

    rotations: Tensor  # [B,J,3,3], of each joint against its parent; the root's against the world
    trans: Tensor  # [B,3], where the root joint is
    betas: Tensor | None = None  # [B,nb], the first shapes; others are 0
    log_scale: Tensor | None = None  # [B,J,3]
    offsets: Tensor | None = None  # [B,J,3], in the body's unit
    size: Tensor | None = None  # [B,1], of the whole body, times its unit

    def each(self, change: Callable[[Tensor], Tensor]) -> BodyPose:
        """Every part that there is, changed: some of the bodies, another type or device."""
        rotations, trans, *others = self
        return BodyPose(change(rotations), change(trans), *(None if o is None else change(o) for o in others))


class PosedBody(NamedTuple):
    """A body in a pose, in the world."""

    vertices: Tensor  # [B,N,3]
    joints: Tensor  # [B,J,3]
    frames: JointFrames  # of the joints, in the body's own frame: before size and trans


def pose_body(
    body: Body,
    pose: BodyPose,
    *,
    propagate_scaling: bool = True,
    in_world: bool = True,
    root_divides: bool = False,
) -> PosedBody:
    """Vertices and joints of a body in B poses.

    Args:
        body: of J joints, on the device and of the dtype of the pose.
        pose: of B bodies.
        propagate_scaling: the scale of a joint also scales what hangs on it.
        in_world: of the pose's size, with the root at `trans`; else in the body's own frame and unit.
        root_divides: as the originals, which do not scale the root but divide what hangs on it by its scale, where
            scales do not propagate.

    Returns:
        PosedBody(vertices [B,N,3], joints [B,J,3], frames).

    Raises:
        ValueError: shapes that do not fit the body.

    Gradients reach everything in `pose`. Source: spec multiview e.2.
    """
    _check(body, pose)
    shaped, rest = shaped_body(body, pose.betas, len(pose.rotations))
    frames = _frames(body, pose, rest, propagate_scaling, root_divides)
    if body.posedirs is not None:
        shaped = shaped + torch.einsum("vck,bk->bvc", body.posedirs, _pose_features(pose))
    maps = _skinning_maps(frames, rest)
    # Vertices last, so that sums of products run along memory: matrices of three rows, one by one, take twice as long.
    blended = (maps.flatten(2).mT @ body.weights.mT).unflatten(1, (3, 4))
    vertices = ((blended[:, :, :3] * shaped.mT[:, None]).sum(2) + blended[:, :, 3]).mT
    joints = frames.position if body.regressor is None else body.regressor @ vertices
    if not in_world:
        return PosedBody(vertices, joints, frames)
    origin = joints[:, :1]
    return PosedBody(_placed(vertices, origin, pose), _placed(joints, origin, pose), frames)


def shaped_body(body: Body, betas: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Vertices [B,N,3] and joints [B,J,3] at rest of B shapes; betas [B,nb], or None for the mean."""
    if betas is None:
        vertices = body.vertices.expand(count, -1, -1)
    else:
        vertices = body.vertices + torch.einsum("vck,bk->bvc", body.shapedirs[..., : betas.shape[1]], betas)
    if body.regressor is None:
        return vertices, body.rest_joints.expand(count, -1, -1)
    return vertices, body.regressor @ vertices


def bone_offsets(body: Body, rest: Tensor, offsets: Tensor | None) -> Tensor:
    """Where each joint stands in the frame of its parent [B,J,3], the root in the body's own.

    Args:
        body: whose joints they are.
        rest: [B,J,3], the joints at rest.
        offsets: [B,J,3], as in `BodyPose`.
    """
    between = rest[:, 1:] - rest[:, list(body.parents[1:])]
    if offsets is not None:
        between = between + offsets.new_tensor(body.trans_sign) * offsets[:, 1:]
    return torch.cat((rest[:, :1], between), dim=1)


class JointParts(NamedTuple):
    """What joints are made of: a share of each moves with every joint that carries it."""

    points: Tensor  # [B,J,C,3], joint j is the sum over c, in the body's own frame
    frames: JointFrames

    def world(self, pose: BodyPose) -> Tensor:
        """The joints [B,J,3] in the world."""
        joints = self.points.sum(2)
        return _placed(joints, joints[:, :1], pose)

    def centres(self, pose: BodyPose) -> Tensor:
        """The points [B,J,3] in the world that the joints turn about.

        They are the joints of a body that is static, and of one made of bones. Regressed from vertices that several
        joints move, a joint stands beside its centre.
        """
        return _placed(self.frames.position, self.points.sum(2)[:, :1], pose)


class JointsOnly(nn.Module):
    """Joints of a body in a pose without its vertices, exactly those of `pose_body`.

    Skinning and regressing are both linear, so joint j is sum_k G_k m_jk with m_jk = sum_v regressor_jv w_vk v. The
    sums over vertices are made here, once, for the mean shape, every shape and every pose blend shape, and of those
    joints k alone that carry a part of j: few, where joints are regressed from vertices near to them.

    Args:
        body: the body. The sums are buffers, which no checkpoint holds.
    """

    rest_joints: Tensor  # [J,3]
    rest_dirs: Tensor  # [J,3,B]
    carriers: Tensor  # int64 [J,C], the joints that carry joint j; where the mass is 0, any
    mass: Tensor  # [J,C], the share of joint j that each carries; rows sum to 1
    moment: Tensor  # [J,C,3]
    moment_dirs: Tensor  # [J,C,3,B]
    pose_dirs: Tensor  # [J,C,3,9(J-1)]

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        if body.regressor is None:
            self._hold("rest_joints", body.rest_joints)
            self._hold("carriers", torch.arange(body.num_joints, device=body.vertices.device)[:, None])
            self._hold("mass", torch.ones_like(body.rest_joints[:, :1]))
            return
        self._hold("rest_joints", body.regressor @ body.vertices)
        self._hold("rest_dirs", torch.einsum("jv,vck->jck", body.regressor, body.shapedirs))
        shares = torch.einsum("jv,vk->jkv", body.regressor, body.weights)
        carries = (shares != 0).any(-1)
        carriers = torch.argsort(carries.int(), dim=1, descending=True, stable=True)
        carriers = carriers[:, : max(1, int(carries.sum(1).max()))]
        shares = shares.gather(1, carriers[..., None].expand(-1, -1, shares.shape[-1]))
        self._hold("carriers", carriers)
        self._hold("mass", shares.sum(-1))
        self._hold("moment", torch.einsum("jkv,vc->jkc", shares, body.vertices))
        self._hold("moment_dirs", torch.einsum("jkv,vcb->jkcb", shares, body.shapedirs))
        if body.posedirs is not None:
            self._hold("pose_dirs", torch.einsum("jkv,vcp->jkcp", shares, body.posedirs))

    def forward(self, pose: BodyPose, *, propagate_scaling: bool = True) -> Tensor:
        """Joints [B,J,3] in the world; arguments and gradients as of `pose_body`."""
        return self.parts(pose, propagate_scaling=propagate_scaling).world(pose)

    def parts(self, pose: BodyPose, *, propagate_scaling: bool = True) -> JointParts:
        """What each joint is made of, by its carriers."""
        _check(self.body, pose)
        rest = self.rest(pose.betas, len(pose.rotations))
        frames = _frames(self.body, pose, rest, propagate_scaling)
        if self.body.regressor is None:
            return JointParts(frames.position[:, :, None], frames)
        maps = _skinning_maps(frames, rest)[:, self.carriers]  # [B,J,C,3,4]
        turned = (maps[..., :3] * self._moments(pose)[..., None, :]).sum(-1)
        return JointParts(turned + self.mass[..., None] * maps[..., 3], frames)

    def rest(self, betas: Tensor | None, count: int) -> Tensor:
        """Joints [B,J,3] at rest."""
        if self.body.regressor is None or betas is None:
            return self.rest_joints.expand(count, -1, -1)
        return self.rest_joints + torch.einsum("jck,bk->bjc", self.rest_dirs[..., : betas.shape[1]], betas)

    def _hold(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def _moments(self, pose: BodyPose) -> Tensor:
        """m [B,J,C,3]."""
        moment = self.moment.expand(len(pose.rotations), -1, -1, -1)
        if pose.betas is not None:
            dirs = self.moment_dirs[..., : pose.betas.shape[1]]
            moment = moment + torch.einsum("jkcs,bs->bjkc", dirs, pose.betas)
        if self.body.posedirs is not None:
            moment = moment + torch.einsum("jkcp,bp->bjkc", self.pose_dirs, _pose_features(pose))
        return moment


def _frames(
    body: Body, pose: BodyPose, rest: Tensor, propagate_scaling: bool, root_divides: bool = False
) -> JointFrames:
    parents = list(body.parents)
    local, offset = pose.rotations, bone_offsets(body, rest, pose.offsets)
    if pose.log_scale is not None:
        scale = torch.cat((torch.ones_like(pose.log_scale[:, :1]), pose.log_scale[:, 1:].exp()), dim=1)
        local = local * scale[:, :, None]
        if not propagate_scaling:
            dividing = (
                torch.cat((pose.log_scale[:, :1].exp(), scale[:, 1:]), dim=1) if root_divides else scale
            )
            above = torch.cat((torch.ones_like(scale[:, :1]), dividing[:, parents[1:]]), dim=1)
            local = local / above[..., None]
    return forward_kinematics(local, offset, body.parents)


def _skinning_maps(frames: JointFrames, rest: Tensor) -> Tensor:
    """Maps [B,J,3,4] of vertices at rest by each joint."""
    shift = frames.position - (frames.linear @ rest[..., None])[..., 0]
    return torch.cat((frames.linear, shift[..., None]), dim=-1)


def _pose_features(pose: BodyPose) -> Tensor:
    """R - I of all joints but the root, [B,9(J-1)]."""
    return (pose.rotations[:, 1:] - torch.eye(3).to(pose.rotations)).flatten(1)


def _placed(points: Tensor, origin: Tensor, pose: BodyPose) -> Tensor:
    """Points of the body's own frame in the world."""
    about_root = points - origin
    if pose.size is not None:
        about_root = about_root * pose.size[:, :, None]
    return about_root + pose.trans[:, None]


def _check(body: Body, pose: BodyPose) -> None:
    """Raise ValueError where a pose does not fit the body."""
    count, joints = len(pose.rotations), body.num_joints
    require_shape("pose_body", "rotations", pose.rotations, "B,J,3,3", J=joints)
    require_shape("pose_body", "trans", pose.trans, "B,3", B=count)
    for name, pattern in (("log_scale", "B,J,3"), ("offsets", "B,J,3"), ("size", "B,1"), ("betas", "B,nb")):
        value = getattr(pose, name)
        if value is not None:
            require_shape("pose_body", name, value, pattern, B=count, J=joints)
    if pose.betas is not None and pose.betas.shape[1] > body.num_betas:
        fail("pose_body", "betas", f"of at most {body.num_betas} shapes", pose.betas.shape[1])
