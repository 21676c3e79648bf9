"""A clip as glTF 2.0: a skinned mesh and its animation, in one .glb file that any viewer plays.

The nodes are the world, under it the joints, and beside it the mesh. Inside, all lengths are in the unit of the world
and its axes; the node of the world turns them so that y points up, and scales them to metres, as glTF has it. The mesh
is the animal at rest with its own shape and size. Between the frames a viewer turns joints the short way round.

Vertices = sum_k w_k W G_k B_k v, with the node of the world W, the joints G_k and the inverses B_k of where they are at
rest: those of `pose_body` at every frame, in float32. A body whose rotations also shape it (`posedirs`) does so by
morph targets of the weights R - I; a viewer that knows only a few morph targets shows it without some.

Source: Khronos Group, "glTF 2.0 Specification", sections 3.7 and 3.11.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from refkp import __version__
from refkp._checks import fail
from refkp.data.units import metres
from refkp.geometry.rotations import matrix_to_quaternion
from refkp.systems.multiview.export.binary import Buffer
from refkp.systems.multiview.export.clip import Clip
from refkp.systems.multiview.export.hierarchy import Hierarchy, hierarchy_of

#: Weights of a vertex in one set.
_PER_SET = 4
#: How far the weights of a vertex may be from 1 in sum, which is rounding and is taken off.
_ROUNDING = 2e-6
_COLOUR = (0.72, 0.62, 0.5, 1.0)


class _Morphs(NamedTuple):
    """What T morph targets add to the vertices, and how much of them at each frame."""

    targets: np.ndarray  # [T,N,3]
    weights: np.ndarray  # [F,T]


def write_gltf(path: Path | str, clip: Clip) -> None:
    """Write a clip as .glb.

    Raises:
        ValueError: a body without faces, weights that do not sum to 1, or frames too close for float32 seconds.
    """
    tree, buffer = hierarchy_of(clip), Buffer()
    morphs = _morphs(clip)
    nodes = _nodes(clip, tree)
    document = {
        "asset": {"version": "2.0", "generator": f"refkp {__version__}", "extras": _extras(clip)},
        "scene": 0,
        "scenes": [{"nodes": [len(tree.parents), len(tree.parents) + 1]}],
        "nodes": nodes,
        "meshes": [_mesh(clip, tree, morphs, buffer)],
        "materials": [_MATERIAL],
        "skins": [_skin(tree, buffer)],
        "animations": [_animation(clip, tree, morphs, buffer)],
    }
    buffer.write(Path(path), document)


_MATERIAL = {
    "pbrMetallicRoughness": {"baseColorFactor": list(_COLOUR), "metallicFactor": 0.0, "roughnessFactor": 0.8},
    "doubleSided": True,
}


def _extras(clip: Clip) -> dict[str, object]:
    return {"body": clip.body_name, "unit": clip.unit, "up": clip.up, "fps": clip.fps}


def _nodes(clip: Clip, tree: Hierarchy) -> list[dict[str, Any]]:
    """The joints in their order, as they stand at the first frame; then the world, and the mesh."""
    quaternions = _quaternions(tree.rotations[:1])[0]
    nodes: list[dict[str, Any]] = []
    for joint, name in enumerate(clip.body.joint_names):
        place = tree.offsets[joint] if joint else tree.root[0]
        node = {"name": name, "translation": place.tolist(), "rotation": quaternions[joint].tolist()}
        children = tree.children(joint)
        nodes.append({**node, "children": children} if children else node)
    turn = _quaternions(clip.y_up[None, None])[0, 0].tolist()
    world = {"name": "world", "children": [0], "rotation": turn, "scale": [metres(clip.unit)] * 3}
    return [*nodes, world, {"name": clip.body_name, "mesh": 0, "skin": 0}]


def _mesh(clip: Clip, tree: Hierarchy, morphs: _Morphs, buffer: Buffer) -> dict[str, Any]:
    faces = clip.body.faces.cpu().numpy()
    if not len(faces):
        fail("write_gltf", "body.faces", "at least one", "none")
    corners = buffer.add_faces(faces)
    attributes = {"POSITION": buffer.add_vertices(tree.vertices.astype(np.float32), "VEC3", bounds=True)}
    for number, (joints, weights) in enumerate(_weight_sets(clip)):
        attributes[f"JOINTS_{number}"] = buffer.add_vertices(joints, "VEC4")
        attributes[f"WEIGHTS_{number}"] = buffer.add_vertices(weights, "VEC4")
    primitive: dict[str, Any] = {"attributes": attributes, "indices": corners, "material": 0, "mode": 4}
    if not len(morphs.targets):
        return {"primitives": [primitive]}
    primitive["targets"] = [
        {"POSITION": buffer.add_vertices(target.astype(np.float32), "VEC3", bounds=True)}
        for target in morphs.targets
    ]
    return {"primitives": [primitive], "weights": morphs.weights[0].tolist()}


def _weight_sets(clip: Clip) -> list[tuple[np.ndarray, np.ndarray]]:
    """Joints [N,4] and weights [N,4] of the vertices, so many sets that no weight is left out."""
    weights = clip.body.weights.detach().cpu().double().numpy()
    sums = weights.sum(1)
    if np.abs(sums - 1).max() > _ROUNDING:
        worst = int(np.abs(sums - 1).argmax())
        remedy = "Divide the weights of each vertex by their sum in the body file."
        fail(
            "write_gltf",
            "body.weights",
            "of rows that sum to 1, as glTF has it",
            f"{sums[worst]:.9g} in row {worst}",
            remedy,
        )
    weights = weights / sums[:, None]
    sets = -(-int((weights != 0).sum(1).max()) // _PER_SET)
    joints = np.argsort(-np.abs(weights), axis=1, kind="stable")[:, : sets * _PER_SET]
    joints = np.pad(joints, ((0, 0), (0, sets * _PER_SET - joints.shape[1])))
    chosen = np.take_along_axis(weights, joints, 1)
    chosen[:, weights.shape[1] :] = 0  # what was padded
    joints[chosen == 0] = 0
    kind = np.uint8 if weights.shape[1] <= 256 else np.uint16
    parts = (slice(first, first + _PER_SET) for first in range(0, sets * _PER_SET, _PER_SET))
    return [
        (
            np.ascontiguousarray(joints[:, part].astype(kind)),
            np.ascontiguousarray(chosen[:, part], np.float32),
        )
        for part in parts
    ]


def _morphs(clip: Clip) -> _Morphs:
    """Morph targets of the pose blend shapes, those of zeros left out."""
    body, motion = clip.in_double()
    if body.posedirs is None:
        return _Morphs(np.zeros((0, len(body.vertices), 3)), np.zeros((len(motion.frames), 0)))
    kept = (body.posedirs != 0).flatten(0, 1).any(0)
    targets = (motion.size * body.posedirs[..., kept]).permute(2, 0, 1)
    weights = (motion.rotations[:, 1:] - torch.eye(3).double()).flatten(1)[:, kept]
    return _Morphs(targets.numpy(), weights.numpy())


def _skin(tree: Hierarchy, buffer: Buffer) -> dict[str, Any]:
    """Where the joints are at rest, undone: matrices by columns."""
    inverse = np.tile(np.eye(4), (len(tree.parents), 1, 1))
    inverse[:, :3, 3] = -tree.rest
    columns = inverse.transpose(0, 2, 1).reshape(-1, 16)
    bind = buffer.add_floats(columns, "MAT4")
    return {"joints": list(range(len(tree.parents))), "inverseBindMatrices": bind, "skeleton": 0}


def _animation(clip: Clip, tree: Hierarchy, morphs: _Morphs, buffer: Buffer) -> dict[str, Any]:
    seconds = clip.times.astype(np.float32)
    if not (np.diff(seconds) > 0).all():
        fail(
            "write_gltf",
            "clip",
            "of frames that float32 seconds tell apart",
            f"{len(seconds)} at {clip.fps:g} fps",
        )
    times = buffer.add(seconds, "SCALAR", bounds=True)
    turns = _quaternions(tree.rotations)
    moved = [(0, "translation", buffer.add_floats(tree.root, "VEC3"))]
    for joint in range(len(tree.parents)):
        moved.append((joint, "rotation", buffer.add_floats(turns[:, joint], "VEC4")))
    if len(morphs.targets):
        weights = buffer.add_floats(morphs.weights.ravel(), "SCALAR")
        moved.append((len(tree.parents) + 1, "weights", weights))
    return {
        "name": "motion",
        "samplers": [{"input": times, "output": output, "interpolation": "LINEAR"} for _, _, output in moved],
        "channels": [
            {"sampler": sampler, "target": {"node": node, "path": path}}
            for sampler, (node, path, _) in enumerate(moved)
        ],
    }


def _quaternions(rotations: np.ndarray) -> np.ndarray:
    """(x, y, z, w) [F,J,4] of rotations [F,J,3,3], without a change of sign from one frame to the next."""
    found = matrix_to_quaternion(torch.from_numpy(rotations)).numpy()
    towards = (found[1:] * found[:-1]).sum(-1, keepdims=True)
    found[1:] *= np.cumprod(np.where(towards < 0, -1.0, 1.0), axis=0)
    return np.roll(found, -1, axis=-1)
