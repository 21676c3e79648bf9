"""Bodies of rigged glTF files, and the poses in which joints of such a file stand.

A body rests as its mesh was bound, in the space and the unit of the mesh; what the nodes of a scene add (another pose,
a turn, a scale of it all) is a pose of that body, which `pose_of_joints` gives. Joints of a file are turned at rest,
those of a `Body` are not: with B_j the turn of joint j when it was bound and a_j its turn against the joint above in an
animation (both of them of the file),

    R_j = B_p a_j B_j^T,        of the root R_0 = a_0 B_0^T

is what `BodyPose.rotations` holds; at rest a_j = B_p^T B_j and R_j = I. Shapes are the morph targets. Joints do not
follow them, as they do not in glTF: the body is static.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from refkp._checks import fail
from refkp.data.mesh_files.gltf_skins import SkinnedMesh
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose

Array = NDArray[np.float64]

#: How far from a turn times one scale the map of a joint may be, as a share of that scale.
_RIGID_TOLERANCE = 1e-3


def skinned_body(skinned: SkinnedMesh) -> Body:
    """The body of a mesh that joints move, in float32; a shape for each morph target.

    Raises:
        ValueError: a joint that was stretched more along one axis than along another when it was bound, so that
            its turns are none of the body.
    """
    for name, linear in zip(skinned.joints, skinned.bind[:, :3, :3], strict=True):
        if not _is_similar(linear):
            got = f"one that stretches by {np.linalg.svd(linear, compute_uv=False).round(4).tolist()}"
            remedy = "Apply the scales of the armature in the program that made it, and export again."
            fail("skinned_body", f"bind of {name!r}", "a turn and one scale for all axes", got, remedy)
    shapes = list(skinned.morphs.values())
    return Body(
        vertices=_float(skinned.vertices),
        faces=torch.from_numpy(skinned.faces),
        weights=_float(skinned.weights),
        parents=skinned.parents,
        joint_names=skinned.joints,
        rest_joints=_float(skinned.bind[:, :3, 3]),
        regressor=None,
        shapedirs=_float(np.stack(shapes, -1) if shapes else np.zeros((*skinned.vertices.shape, 0))),
        trans_sign=(1.0, 1.0, 1.0),
    )


def pose_of_joints(skinned: SkinnedMesh, world: Array) -> BodyPose:
    """The poses of the body of `skinned` in which its joints stand at `world`, in float64.

    `pose_body` then gives sum_j weights_j world_j bind_j^-1 v, the definition of glTF.

    Args:
        skinned: of J joints.
        world: float [F,J,4,4], world_from_joint, as nodes of the file stand or as an animation moves them.

    Returns:
        BodyPose of F bodies: rotations, trans, offsets (what joints moved against the joint above) and size.

    Raises:
        ValueError: joints that are mirrored, or scaled differently from each other or along their axes.
    """
    moved = world @ np.linalg.inv(skinned.bind)  # of the space of the mesh
    linear = moved[..., :3, :3]
    size = np.cbrt(np.linalg.det(linear[:, :1]))
    turns = linear / size[..., None, None]
    if not (size > 0).all() or not (_unlike_turn(turns) < _RIGID_TOLERANCE).all():
        rule = "turns, shifts, and one scale of it all against the pose of binding"
        worst = skinned.joints[int(_unlike_turn(turns).max(0).argmax())]
        fail("pose_of_joints", "world", rule, f"another map of {worst!r}", "Leave scales of joints out.")
    parents = list(skinned.parents[1:])
    above = np.swapaxes(turns[:, parents], -1, -2)
    places, rest = world[..., :3, 3], skinned.bind[:, :3, 3]
    steps = (places[:, 1:] - places[:, parents]) / size[..., None]
    offsets = (above @ steps[..., None])[..., 0] - (rest[1:] - rest[parents])
    return BodyPose(
        torch.from_numpy(np.concatenate((turns[:, :1], above @ turns[:, 1:]), axis=1)),
        torch.from_numpy(places[:, 0].copy()),
        offsets=torch.from_numpy(np.concatenate((np.zeros_like(places[:, :1]), offsets), axis=1)),
        size=torch.from_numpy(size),
    )


def moved_by_nodes(skinned: SkinnedMesh) -> float:
    """How far the nodes of the file move a vertex against the pose of binding at most, the root's own move left out.

    As a share of the longest side of the mesh; 0 where they stand as they did when the mesh was bound.
    """
    moved = skinned.world @ np.linalg.inv(skinned.bind)
    against_root = np.linalg.inv(moved[0]) @ moved
    blended = np.einsum("vj,jrc->vrc", skinned.weights, against_root)
    points = (blended[:, :3, :3] @ skinned.vertices[..., None])[..., 0] + blended[:, :3, 3]
    longest = float(np.ptp(skinned.vertices, axis=0).max())
    return float(np.linalg.norm(points - skinned.vertices, axis=1).max()) / longest if longest else 0.0


def _is_similar(linear: Array) -> bool:
    """Whether a map [3,3] is a turn, or a mirror, times one scale."""
    size = np.cbrt(np.abs(np.linalg.det(linear)))
    return bool(size > 0 and _unlike_orthogonal(linear / size) < _RIGID_TOLERANCE)


def _unlike_turn(maps: Array) -> Array:
    """[...], the largest element of M^T M - I for maps M [...,3,3]; infinite for those that mirror."""
    return np.where(np.linalg.det(maps) > 0, _unlike_orthogonal(maps), np.inf)


def _unlike_orthogonal(maps: Array) -> Array:
    return np.abs(np.swapaxes(maps, -1, -2) @ maps - np.eye(3)).max((-1, -2))


def _float(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
