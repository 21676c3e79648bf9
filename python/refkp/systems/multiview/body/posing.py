"""Vertices and joints of a body in a pose, and its joints alone without the vertices.

With shape b, rotations R, log scales s and offsets o (spec multiview e.2):

    v = vertices + shapedirs b                          J = regressor v, or rest_joints if static
    G_j = G_p [P_p R_j S_j | J_j - J_p + sign o_j]      S = diag(exp s), P = 1 if scales propagate, else S^-1
    vertex = sum_j w_j (G_j (v + posedirs (R - I)) - G_j J_j + position_j)
    joint = regressor vertices, or the position of the joint if static

The root is not scaled: its log scale is ignored, towards its children too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

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


class PosedBody(NamedTuple):
    """A body in a pose, in the world."""

    vertices: Tensor  # [B,N,3]
    joints: Tensor  # [B,J,3]
    frames: JointFrames  # of the joints, in the body's own frame: before size and trans


def pose_body(body: Body, pose: BodyPose, *, propagate_scaling: bool = True) -> PosedBody:
    """Vertices and joints of a body in B poses.

    Args:
        body: of J joints, on the device and of the dtype of the pose.
        pose: of B bodies.
        propagate_scaling: the scale of a joint also scales what hangs on it.

    Returns:
        PosedBody(vertices [B,N,3], joints [B,J,3], frames).

    Raises:
        ValueError: shapes that do not fit the body.

    Gradients reach everything in `pose`. Source: spec multiview e.2.
    """
    _check(body, pose)
    shaped, rest = shaped_body(body, pose.betas, len(pose.rotations))
    frames = _frames(body, pose, rest, propagate_scaling)
    if body.posedirs is not None:
        shaped = shaped + torch.einsum("vck,bk->bvc", body.posedirs, _pose_features(pose))
    maps = _skinning_maps(frames, rest)
    blended = torch.einsum("vj,bjk->bvk", body.weights, maps.flatten(2)).unflatten(2, (3, 4))
    vertices = (blended[..., :3] @ shaped[..., None])[..., 0] + blended[..., 3]
    joints = frames.position if body.regressor is None else body.regressor @ vertices
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


class JointsOnly:
    """Joints of a body in a pose without its vertices, exactly those of `pose_body`.

    Skinning and regressing are both linear, so joint j is sum_k G_k m_jk with m_jk = sum_v regressor_jv w_vk v. The
    sums over vertices are made here, once, for the mean shape, every shape and every pose blend shape.

    Args:
        body: the body.
    """

    def __init__(self, body: Body) -> None:
        self.body = body
        if body.regressor is None:
            return
        self._rest = body.regressor @ body.vertices  # [J,3]
        self._rest_dirs = torch.einsum("jv,vck->jck", body.regressor, body.shapedirs)
        shares = torch.einsum("jv,vk->jkv", body.regressor, body.weights)
        self._mass = shares.sum(-1)  # [J,K]
        self._moment = torch.einsum("jkv,vc->jkc", shares, body.vertices)
        self._moment_dirs = torch.einsum("jkv,vcb->jkcb", shares, body.shapedirs)
        if body.posedirs is not None:
            self._pose_dirs = torch.einsum("jkv,vcp->jkcp", shares, body.posedirs)

    def __call__(self, pose: BodyPose, *, propagate_scaling: bool = True) -> Tensor:
        """Joints [B,J,3] in the world; arguments and gradients as of `pose_body`."""
        _, joints = self._in_body(pose, propagate_scaling)
        return _placed(joints, joints[:, :1], pose)

    def centres(self, pose: BodyPose, *, propagate_scaling: bool = True) -> Tensor:
        """The points [B,J,3] in the world that the joints turn about.

        They are the joints of a body that is static, and of one made of bones. Regressed from vertices that several
        joints move, a joint stands beside its centre.
        """
        frames, joints = self._in_body(pose, propagate_scaling)
        return _placed(frames.position, joints[:, :1], pose)

    def _in_body(self, pose: BodyPose, propagate_scaling: bool) -> tuple[JointFrames, Tensor]:
        """Frames of the joints, and the joints [B,J,3], in the body's own frame."""
        _check(self.body, pose)
        rest = self.rest(pose.betas, len(pose.rotations))
        frames = _frames(self.body, pose, rest, propagate_scaling)
        if self.body.regressor is None:
            return frames, frames.position
        maps = _skinning_maps(frames, rest)
        moment = self._moments(pose)
        joints = torch.einsum("bkcd,bjkd->bjc", maps[..., :3], moment) + self._mass @ maps[..., 3]
        return frames, joints

    def rest(self, betas: Tensor | None, count: int) -> Tensor:
        """Joints [B,J,3] at rest."""
        if self.body.regressor is None or betas is None:
            rest = self.body.rest_joints if self.body.regressor is None else self._rest
            return rest.expand(count, -1, -1)
        return self._rest + torch.einsum("jck,bk->bjc", self._rest_dirs[..., : betas.shape[1]], betas)

    def _moments(self, pose: BodyPose) -> Tensor:
        """m [B,J,K,3]."""
        moment = self._moment.expand(len(pose.rotations), -1, -1, -1)
        if pose.betas is not None:
            dirs = self._moment_dirs[..., : pose.betas.shape[1]]
            moment = moment + torch.einsum("jkcs,bs->bjkc", dirs, pose.betas)
        if self.body.posedirs is not None:
            moment = moment + torch.einsum("jkcp,bp->bjkc", self._pose_dirs, _pose_features(pose))
        return moment


def _frames(body: Body, pose: BodyPose, rest: Tensor, propagate_scaling: bool) -> JointFrames:
    parents = list(body.parents)
    local, offset = pose.rotations, bone_offsets(body, rest, pose.offsets)
    if pose.log_scale is not None:
        scale = torch.cat((torch.ones_like(pose.log_scale[:, :1]), pose.log_scale[:, 1:].exp()), dim=1)
        local = local * scale[:, :, None]
        if not propagate_scaling:
            above = torch.cat((torch.ones_like(scale[:, :1]), scale[:, parents[1:]]), dim=1)
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
