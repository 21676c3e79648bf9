"""Bodies of rigs move as glTF says, whatever the rig."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from refkp.data.mesh_files.gltf_skins import SkinnedMesh, read_skin
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly, pose_body
from refkp.systems.multiview.body.rig import moved_by_nodes, pose_of_joints, skinned_body
from tests.support.skins import RigFile, placed, quaternion, skinned_by_gltf, turn

Array = NDArray[np.float64]


class Rig(NamedTuple):
    """A file, and what a test has to know of it."""

    file: RigFile
    joints: list[int]  # nodes of the joints, in the order of the skin
    inverse_bind: Array  # [J,4,4]
    vertices: Array  # [V,3]
    index: NDArray[np.uint8]  # [V,4], of joints
    weights: Array  # [V,4]
    targets: dict[str, Array]


def strip(count: int) -> Array:
    """A surface through `count` vertices."""
    return np.array([[k, k + 1, k + 2] for k in range(count - 2)])


def bound(
    file: RigFile,
    joints: list[int],
    bind: Array,
    rng: np.random.Generator,
    size: float = 1.0,
    **targets: Array,
) -> Rig:
    """A mesh of random vertices and weights, of the precision of the file."""
    count = next((len(values) for values in targets.values()), 40)
    vertices = (size * rng.normal(size=(count, 3))).astype(np.float32).astype(np.float64)
    index = rng.integers(0, len(joints), size=(count, 4)).astype(np.uint8)
    weights = rng.dirichlet(np.ones(4), size=count).astype(np.float32).astype(np.float64)
    targets = {name: values.astype(np.float32).astype(np.float64) for name, values in targets.items()}
    skin = file.add_skin(joints, bind)
    file.add_mesh(skin, vertices, strip(count), [(index, weights)], targets)
    inverse = np.linalg.inv(bind).astype(np.float32).astype(np.float64)
    return Rig(file, joints, inverse, vertices, index, weights, targets)


def chain(rng: np.random.Generator) -> Rig:
    """Four joints one below the other, by turns and shifts, listed in no order."""
    file, joints, bind, world, above = RigFile(), [], [], np.eye(4), None
    for number in range(4):
        vector, step = rng.normal(size=3) * 0.5, rng.normal(size=3)
        world = world @ placed(vector, step)
        above = file.add_node(f"bone{number}", above, rotation=quaternion(vector), translation=step.tolist())
        joints.append(above)
        bind.append(world)
    order = [2, 0, 3, 1]
    return bound(file, [joints[k] for k in order], np.stack([bind[k] for k in order]), rng)


def tree(rng: np.random.Generator) -> Rig:
    """A spine with limbs that are mirrored by a scale of -1, under an armature of another scale and turn."""
    file = RigFile()
    armature = placed([np.pi / 2, 0, 0], (0.1, 0, 3), 0.01)
    top = file.add_node("armature", matrix=armature.T.ravel().tolist())
    joints, bind = [], []

    def add(name: str, parent: int | None, local: Array, above: Array) -> tuple[int, Array]:
        node = file.add_node(name, top if parent is None else parent, matrix=local.T.ravel().tolist())
        joints.append(node)
        bind.append(above @ local)
        return node, above @ local

    spine, at = add("spine", None, placed([0.2, 0.1, 0.4], (0, 90, 0)), np.eye(4))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        mirror = np.diag([sign, 1, 1, 1])
        upper, upper_at = add(f"upper_{side}", spine, mirror @ placed([0, 0.5, 1.0], (30, 5, 0)), at)
        add(f"lower_{side}", upper, placed([1.0, 0, 0], (0, 40, 0)), upper_at)
    return bound(file, joints, np.stack(bind), rng, size=40.0)


def morphed(rng: np.random.Generator) -> Rig:
    """Two joints with a node between them that is none, in another pose than that of binding; two targets."""
    file = RigFile()
    hip = file.add_node("hip", translation=[0.0, 1.0, 0.0], rotation=quaternion(np.array([0.1, 0.2, 0.3])))
    helper = file.add_node(
        "helper", hip, translation=[0.5, 0.0, 0.0], rotation=quaternion(np.array([0, 0, 0.7]))
    )
    knee = file.add_node("knee", helper, translation=[0.0, 0.5, 0.0])
    bind = np.stack([placed(None, (0, 1, 0)), placed([0.3, 0, 0], (0.6, 1.5, 0.1))])
    sparse = np.zeros((40, 3))
    sparse[[3, 17]] = rng.normal(size=(2, 3))
    rig = bound(file, [hip, knee], bind, rng, smile=rng.normal(size=(40, 3)), frown=sparse)
    target = file.document["meshes"][0]["primitives"][0]["targets"][1]["POSITION"]
    file.make_sparse(target, np.array([3, 17]), sparse[[3, 17]])
    return rig


RIGS: dict[str, Callable[[np.random.Generator], Rig]] = {"chain": chain, "tree": tree, "morphed": morphed}


def world_of_nodes(rig: Rig, turns: dict[int, Array] | None = None) -> Array:
    """world_from_joint [J,4,4] in the order of the skin; `turns` are further ones of nodes, in their own frames."""
    nodes = rig.file.document["nodes"]
    above = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}

    def world(number: int) -> Array:
        node = nodes[number]
        if "matrix" in node:
            local = np.array(node["matrix"]).reshape(4, 4).T
        else:
            x, y, z, w = node.get("rotation", (0, 0, 0, 1))
            half = np.arctan2(np.linalg.norm((x, y, z)), w)
            axis = np.array([x, y, z]) / max(np.linalg.norm((x, y, z)), 1e-300)
            local = placed(2 * half * axis, node.get("translation", (0, 0, 0)))
        local = local @ (turns or {}).get(number, np.eye(4))
        return world(above[number]) @ local if number in above else local

    return np.stack([world(number) for number in rig.joints])


def in_order(rig: Rig, skinned: SkinnedMesh, values: Array) -> Array:
    """Values of the joints of the skin in the order of the body."""
    names = [rig.file.document["nodes"][number]["name"] for number in rig.joints]
    return values[[names.index(name) for name in skinned.joints]]


def double(pose: BodyPose) -> BodyPose:
    return BodyPose(*(None if value is None else value.double() for value in pose))


@pytest.mark.parametrize("name", RIGS)
@pytest.mark.parametrize("animated", [False, True])
def test_skinning_is_that_of_gltf(name: str, animated: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(len(name))
    rig = RIGS[name](rng)
    skinned = read_skin(rig.file.save(tmp_path / "rig.glb"))
    turns = {node: placed(rng.normal(size=3)) for node in rig.joints} if animated else {}
    world = world_of_nodes(rig, turns)
    if not animated:
        np.testing.assert_allclose(skinned.world, in_order(rig, skinned, world), atol=1e-12)
    betas = rng.normal(size=len(rig.targets))
    shaped = rig.vertices + sum(
        (beta * rig.targets[k] for beta, k in zip(betas, rig.targets, strict=True)), 0.0
    )
    want = skinned_by_gltf(shaped, rig.index, rig.weights, rig.inverse_bind, world)

    body = skinned_body(skinned).to(dtype=torch.float64)
    pose = pose_of_joints(skinned, in_order(rig, skinned, world)[None])
    pose = double(pose)._replace(betas=torch.from_numpy(betas)[None])
    posed = pose_body(body, pose)
    size = np.ptp(want, axis=0).max()
    np.testing.assert_allclose(posed.vertices[0], want, atol=1e-6 * size, rtol=0)
    np.testing.assert_allclose(
        posed.joints[0], in_order(rig, skinned, world)[:, :3, 3], atol=1e-6 * size, rtol=0
    )
    torch.testing.assert_close(JointsOnly(body)(pose), posed.joints)


@pytest.mark.parametrize("name", ["chain", "tree"])
def test_turns_of_joints_alone_are_turns_of_the_body_alone(name: str, tmp_path: Path) -> None:
    """R_j = B_p a_j B_j^T: nothing is left for offsets, and the size is that of the armature."""
    rng = np.random.default_rng(1)
    rig = RIGS[name](rng)
    skinned = read_skin(rig.file.save(tmp_path / "rig.glb"))
    turns = {node: placed(rng.normal(size=3)) for node in rig.joints}
    world = in_order(rig, skinned, world_of_nodes(rig, turns))
    pose = pose_of_joints(skinned, world[None])
    assert pose.offsets is not None
    assert pose.size is not None
    assert float(pose.offsets.abs().max()) < 1e-6 * skinned_body(skinned).length
    assert float(pose.size) == pytest.approx(0.01 if name == "tree" else 1.0)
    for joint, parent in enumerate(skinned.parents[1:], start=1):
        above, own = orthogonal(skinned.bind[parent]), orthogonal(np.linalg.inv(world[parent]) @ world[joint])
        want = above @ own @ orthogonal(skinned.bind[joint]).T
        np.testing.assert_allclose(pose.rotations[0, joint], want, atol=1e-6)


def orthogonal(matrix: Array) -> Array:
    """The turn, or mirror, of a map [4,4] that has one scale."""
    result: Array = matrix[:3, :3] / np.cbrt(np.abs(np.linalg.det(matrix[:3, :3])))
    return result


def test_at_rest_nothing_is_turned(tmp_path: Path) -> None:
    skinned = read_skin(chain(np.random.default_rng(2)).file.save(tmp_path / "rig.glb"))
    pose = pose_of_joints(skinned, skinned.world[None])
    torch.testing.assert_close(pose.rotations[0], torch.eye(3).double().expand(4, 3, 3), atol=1e-6, rtol=0)
    assert moved_by_nodes(skinned) < 1e-6
    body = skinned_body(skinned)
    np.testing.assert_array_equal(body.vertices, skinned.vertices.astype(np.float32))
    assert (body.regressor, body.limits, body.trans_sign) == (None, None, (1.0, 1.0, 1.0))


def test_another_pose_of_the_nodes_is_seen(tmp_path: Path) -> None:
    skinned = read_skin(morphed(np.random.default_rng(3)).file.save(tmp_path / "rig.glb"))
    assert moved_by_nodes(skinned) > 0.05


def test_a_turn_and_a_scale_of_the_whole_are_no_other_pose(tmp_path: Path) -> None:
    skinned = read_skin(tree(np.random.default_rng(3)).file.save(tmp_path / "rig.glb"))
    assert moved_by_nodes(skinned) < 1e-6


def test_what_no_body_can_do_is_an_error(tmp_path: Path) -> None:
    skinned = read_skin(chain(np.random.default_rng(4)).file.save(tmp_path / "rig.glb"))
    stretched = skinned.bind.copy()
    stretched[1, :3, :3] *= [1, 2, 1]
    with pytest.raises(ValueError, match=r"`bind of 'bone1'` must be a turn and one scale"):
        skinned_body(skinned._replace(bind=stretched))
    world = skinned.world[None].copy()
    world[0, 2, :3, :3] *= 1.5
    with pytest.raises(ValueError, match=r"pose_of_joints: `world` must be turns.*another map of 'bone2'"):
        pose_of_joints(skinned, world)
    mirrored = np.diag([-1.0, 1, 1, 1]) @ skinned.world
    with pytest.raises(ValueError, match="pose_of_joints: `world` must be turns"):
        pose_of_joints(skinned, mirrored[None])


def test_rotations_of_the_support_are_rotations() -> None:
    vector = np.array([0.3, -0.2, 0.9])
    np.testing.assert_allclose(turn(vector) @ turn(vector).T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(turn(vector) @ vector, vector, atol=1e-12)
