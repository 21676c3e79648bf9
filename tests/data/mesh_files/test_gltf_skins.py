"""Skins of glTF files: every way in which programs write them, and a clear error for what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from refkp.data.mesh_files.gltf_skins import SkinnedMesh, read_skin
from tests.support.skins import RigFile, placed, quaternion, skinned_by_gltf

Array = NDArray[np.float64]

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(6, 3)).astype(np.float32).astype(float)
FACES = np.array([[0, 1, 2], [2, 3, 4], [3, 4, 5]])
BIND = np.stack([placed([0.1, 0, 0], (0, 0, 1)), placed([0, 0.4, 0], (0, 2, 1))])


def sets(kind: str = "float32", per_vertex: int = 2) -> tuple[NDArray[Any], NDArray[Any]]:
    """Joints 0 and 1 by turns, and weights of them that sum to 1."""
    joints = np.zeros((6, 4), np.uint8)
    joints[:, 1] = 1
    first = RNG.integers(1, 255, size=6)
    whole = np.zeros((6, 4))
    whole[:, 0], whole[:, 1] = first, 255 - first
    if kind == "uint16":
        whole *= 257
    return joints, (whole / 255 if kind == "float32" else whole).astype(kind)


def two_joints(file: RigFile, **skin: Any) -> int:
    """A skin of a hip and a knee below it, which stand as they were bound."""
    hip = file.add_node("hip", matrix=BIND[0].T.ravel().tolist())
    knee = file.add_node("knee", hip, matrix=(np.linalg.inv(BIND[0]) @ BIND[1]).T.ravel().tolist())
    return file.add_skin([knee, hip], BIND[::-1], **skin)


def read(file: RigFile, folder: Path, skin: str | None = None) -> SkinnedMesh:
    return read_skin(file.save(folder / "rig.glb"), skin)


def posed(skinned: SkinnedMesh) -> Array:
    """The vertices as the nodes of the file stand."""
    everyone = np.tile(np.arange(len(skinned.joints)), (len(skinned.vertices), 1))
    inverse = np.linalg.inv(skinned.bind)
    return skinned_by_gltf(skinned.vertices, everyone, skinned.weights, inverse, skinned.world)


def test_joints_come_parents_first_whatever_the_order_of_the_skin(tmp_path: Path) -> None:
    file = RigFile()
    joints, weights = sets()
    file.add_mesh(two_joints(file), POINTS, FACES, [(joints, weights)])
    skinned = read(file, tmp_path)
    assert (skinned.joints, skinned.parents) == (("hip", "knee"), (-1, 0))
    np.testing.assert_allclose(skinned.bind, BIND, atol=1e-6)
    np.testing.assert_allclose(skinned.world, BIND, atol=1e-12)
    np.testing.assert_array_equal(skinned.vertices, POINTS)
    np.testing.assert_array_equal(skinned.faces, FACES)
    np.testing.assert_array_equal(skinned.weights, weights[:, [1, 0]])
    assert (skinned.morphs, skinned.losses) == ({}, ())


@pytest.mark.parametrize("kind", ["float32", "uint8", "uint16"])
def test_weights_of_whole_numbers_and_of_two_sets(kind: str, tmp_path: Path) -> None:
    file = RigFile()
    joints, weights = sets(kind)
    second = np.zeros_like(weights)
    second[:, 3], weights[:, 1] = weights[:, 1], 0
    joints[:, 1] = 77  # stands where there is no weight
    others = np.full((6, 4), 99, np.uint8)
    others[:, 3] = 1
    file.add_mesh(two_joints(file), POINTS, FACES, [(joints, weights), (others, second)])
    skinned = read(file, tmp_path)
    most = 1 if kind == "float32" else np.iinfo(kind).max
    np.testing.assert_allclose(skinned.weights[:, 1], weights[:, 0] / most, atol=1e-12)
    np.testing.assert_allclose(skinned.weights.sum(1), 1, atol=1e-6)
    assert not skinned.losses


def test_sums_of_weights_that_are_off_are_made_1_and_told(tmp_path: Path) -> None:
    file = RigFile()
    joints, weights = sets()
    weights[2] *= 0.9
    weights[3] *= 1.0005
    file.add_mesh(two_joints(file), POINTS, FACES, [(joints, weights)])
    skinned = read(file, tmp_path)
    assert skinned.losses == ("sums of the weights of 1 vertices, which became 1",)
    np.testing.assert_allclose(skinned.weights[2], weights[2, [1, 0]] / 0.9, atol=1e-6)
    np.testing.assert_array_equal(skinned.weights[3], weights[3, [1, 0]])


@pytest.mark.parametrize("value", [0.0, -0.5, np.nan])
def test_vertices_without_a_joint_are_an_error(value: float, tmp_path: Path) -> None:
    file = RigFile()
    joints, weights = sets()
    weights[2] = value, 0, 0, 0
    file.add_mesh(two_joints(file), POINTS, FACES, [(joints, weights)])
    with pytest.raises(
        ValueError, match=r"rig\.glb.* at least one joint for every vertex; got 1 vertices of 6 w"
    ):
        read(file, tmp_path)


def test_several_meshes_of_one_skin_and_surfaces_of_one_mesh(tmp_path: Path) -> None:
    """Surfaces of the same vertices share them; shapes of the same name are one."""
    file = RigFile()
    skin = two_joints(file)
    bulge, sink = np.full((6, 3), 0.5), np.full((6, 3), -0.25)
    first = file.add_mesh(skin, POINTS, FACES[:2], [sets()], {"bulge": bulge}, name="skin")
    also = {**first, "indices": file.accessor(FACES[2].astype(np.uint16)[:, None])}
    file.document["meshes"][0]["primitives"].append(also)
    file.add_mesh(skin, POINTS + 9, FACES, [sets()], {"sink": sink, "bulge": 2 * bulge}, name="claws")
    skinned = read(file, tmp_path)
    np.testing.assert_allclose(skinned.vertices, np.concatenate((POINTS, POINTS + 9)), atol=1e-6)
    np.testing.assert_array_equal(skinned.faces, np.concatenate((FACES, FACES + 6)))
    assert list(skinned.morphs) == ["bulge", "sink"]
    np.testing.assert_array_equal(skinned.morphs["bulge"], np.concatenate((bulge, 2 * bulge)))
    np.testing.assert_array_equal(skinned.morphs["sink"], np.concatenate((np.zeros((6, 3)), sink)))


def test_targets_without_names_and_those_that_are_set(tmp_path: Path) -> None:
    file = RigFile()
    skin = two_joints(file)
    file.add_mesh(skin, POINTS, FACES, [sets()], {"a": POINTS, "b": POINTS}, name="body", weights=[0.0, 0.5])
    del file.document["meshes"][0]["extras"]
    file.document["meshes"][0]["primitives"][0]["targets"][1] = {"NORMAL": 0}
    skinned = read(file, tmp_path)
    assert list(skinned.morphs) == ["body_0", "body_1"]
    assert not skinned.morphs["body_1"].any()
    assert skinned.losses == ("the weights at which morph targets of 'body' are set; the body starts at 0",)


def test_skins_of_one_skeleton_are_put_together(tmp_path: Path) -> None:
    """Each mesh was bound in a space of its own: all go to that of the first, which moves them as their own does."""
    file = RigFile()
    skin = two_joints(file)
    space = placed([0.3, 0.2, 0.1], (1, 2, 3), 2.5)
    hip, knee = 0, 1
    claw = file.add_node("claw", knee, translation=[0.0, 0.0, 1.0])
    claw_bind = BIND[1] @ placed(None, (0, 0, 1))
    own = np.stack([np.linalg.inv(space) @ bind for bind in (claw_bind, BIND[0], BIND[1])])
    other = file.add_skin([claw, hip, knee], own)
    joints, weights = sets()
    file.add_mesh(skin, POINTS, FACES, [(joints, weights)])
    file.add_mesh(other, POINTS, FACES, [(joints, weights)], {"big": POINTS})
    file.document["nodes"][hip]["matrix"] = placed([1.0, 0, 0], (0, 0, 7)).T.ravel().tolist()
    skinned = read(file, tmp_path)
    assert (skinned.joints, skinned.parents) == (("hip", "knee", "claw"), (-1, 0, 1))
    world = skinned.world[[2, 0, 1]]
    want = skinned_by_gltf(POINTS, joints, weights, np.linalg.inv(own), world)
    np.testing.assert_allclose(posed(skinned)[6:], want, atol=1e-5)
    np.testing.assert_allclose(skinned.morphs["big"][6:], POINTS @ space[:3, :3].T, atol=1e-5)


def test_of_several_skeletons_one_is_chosen(tmp_path: Path) -> None:
    file = RigFile()
    for name in ("cat", "dog"):
        file.add_mesh(two_joints(file, name=name), POINTS, FACES, [sets()], name=f"{name}'s")
    with pytest.raises(
        ValueError, match=r"one skeleton in one pose; got several: 'cat', 'dog'\. Choose one with --s"
    ):
        read(file, tmp_path)
    for choice in ("dog", "1"):
        skinned = read(file, tmp_path, choice)
        assert len(skinned.vertices) == 6
        assert skinned.losses == ('the mesh "cat\'s" of another skin',)
    with pytest.raises(ValueError, match="read_skin: `skin` must be one of 'cat', 'dog'; got 'cow'"):
        read(file, tmp_path, "cow")


@pytest.mark.parametrize("has_armature", [True, False])
def test_joints_without_a_common_one_get_a_root(has_armature: bool, tmp_path: Path) -> None:
    """Two hips below an armature that is no joint, or in the scene; a node between a hip and its knee."""
    file = RigFile()
    turn = quaternion(np.array([0.3, 0, 0]))
    armature = file.add_node("armature", translation=[0, 0, 2.0], rotation=turn) if has_armature else None
    joints, bind = [], []
    at = placed([0.3, 0, 0], (0, 0, 2)) if has_armature else np.eye(4)
    for x in (0.0, 1.0):
        hip = file.add_node(None, armature, translation=[x, 0, 0])
        between = file.add_node("between", hip, rotation=turn)
        joints += [hip, file.add_node("knee", between, translation=[0, 1.0, 0])]
        hip_at = at @ placed(None, (x, 0, 0))
        bind += [hip_at, hip_at @ placed([0.3, 0, 0]) @ placed(None, (0, 1, 0))]
    offset = placed([0, 0.5, 0], (3, 4, 5))  # the space of binding is another than that of the scene
    file.add_mesh(file.add_skin(joints, offset @ np.stack(bind), skeleton=0), POINTS, FACES, [sets()])
    skinned = read(file, tmp_path)
    number = [str(joint) for joint in joints]
    names = (f"joint_{number[0]}", f"knee_{number[1]}", f"joint_{number[2]}", f"knee_{number[3]}")
    assert skinned.joints == ("armature" if has_armature else "root", *names)
    assert skinned.parents == (-1, 0, 1, 0, 3)
    assert not skinned.weights[:, 0].any()
    np.testing.assert_allclose(skinned.bind, offset @ np.stack([at, *bind]), atol=1e-6)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_a_mesh_that_hangs_on_a_joint_moves_with_it(mirror: float, tmp_path: Path) -> None:
    """An eye on a socket on the knee, which stands elsewhere than it did when the skin was bound."""
    file = RigFile()
    skin = two_joints(file)
    file.document["nodes"][1]["matrix"] = placed([0.5, 0.2, 0], (0, 3, 0)).T.ravel().tolist()
    file.add_mesh(skin, POINTS, FACES, [sets()])
    socket = file.add_node("socket", 1, translation=[0.0, 0.1, 0.0], scale=[2.0 * mirror, 2.0, 3.0])
    file.add_mesh(None, POINTS, FACES, [], {"wide": POINTS}, parent=socket)
    skinned = read(file, tmp_path)
    np.testing.assert_array_equal(skinned.weights[:6], np.tile([0.0, 1.0], (6, 1)))
    at = skinned.world[1] @ placed(None, (0, 0.1, 0)) @ np.diag([2 * mirror, 2, 3, 1])
    np.testing.assert_allclose(posed(skinned)[:6], POINTS @ at[:3, :3].T + at[:3, 3], atol=1e-5)
    np.testing.assert_array_equal(skinned.faces[:3], FACES[:, :: int(mirror)])
    assert not skinned.losses


def test_what_else_the_file_holds_is_told(tmp_path: Path) -> None:
    file = RigFile()
    skin = two_joints(file)
    file.add_mesh(skin, POINTS, FACES, [sets()], name="body")
    file.document["meshes"][0]["primitives"].append({"mode": 0, "attributes": {"POSITION": 0}})
    file.document["materials"].append({})
    file.document["animations"] = [{}, {}]
    file.add_mesh(None, POINTS, FACES, [], name_of_node="floor")
    assert read(file, tmp_path).losses == (
        *(
            "points or lines",
            "the mesh 'floor' that hangs on no joint",
            "colours and textures",
            "2 animations",
        ),
    )


def test_nodes_stand_where_trimesh_has_them(tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh", reason="needs the extra `pose`")
    file = RigFile()
    turned = quaternion(np.array([0.3, -1.0, 0.2]))
    top = file.add_node("top", rotation=turned, scale=[2.0, 2.0, 2.0], translation=[0.5, 1.0, 2.0])
    low = file.add_node("low", top, matrix=placed([1.0, 0, 2.0], (0, 3, 1)).T.ravel().tolist())
    file.add_mesh(file.add_skin([top, low], BIND), POINTS, FACES, [sets()])
    skinned = read(file, tmp_path)
    graph = trimesh.load_scene(tmp_path / "rig.glb").graph
    for name, world in zip(skinned.joints, skinned.world, strict=True):
        np.testing.assert_allclose(world, graph.get(name)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["skins"][0].pop("inverseBindMatrices"), "a skin with inverseBindMatrices"),
        (
            lambda d: [node.pop("skin", None) for node in d["nodes"]],
            "a file with a skin: a mesh that joints move",
        ),
        (
            lambda d: d["meshes"][0]["primitives"][0].update(mode=1),
            "a skinned surface of triangles; got points",
        ),
        (lambda d: d["meshes"][0]["primitives"][0]["attributes"].pop("WEIGHTS_0"), "no valid glTF: KeyError"),
        (lambda d: d["skins"][0]["joints"].pop(), "no valid glTF: IndexError"),
        (lambda d: d["skins"][0]["joints"].append(99), "no valid glTF"),
        (lambda d: d["scenes"][0]["nodes"].remove(0), "no valid glTF"),
        (lambda d: d["nodes"][1].update(children=[0]), "no valid glTF: KeyError.*its own parent"),
        (
            lambda d: d.update(extensionsRequired=["KHR_draco_mesh_compression"]),
            "Export it without compression",
        ),
    ],
)
def test_a_broken_rig_is_one_error_that_names_the_file(change: Any, told: str, tmp_path: Path) -> None:
    file = RigFile()
    file.add_mesh(two_joints(file), POINTS, FACES, [sets()])
    change(file.document)
    with pytest.raises(ValueError, match=f"rig\\.glb.*{told}"):
        read(file, tmp_path)


def test_text_with_buffers_beside_it(tmp_path: Path) -> None:
    file = RigFile()
    file.add_mesh(two_joints(file), POINTS, FACES, [sets()])
    glb = read(file, tmp_path)
    file.document["buffers"][0]["uri"] = "my%20rig.bin"
    (tmp_path / "my rig.bin").write_bytes(file.binary)
    (tmp_path / "rig.gltf").write_text(json.dumps(file.document))
    gltf = read_skin(tmp_path / "rig.gltf")
    np.testing.assert_array_equal(gltf.vertices, glb.vertices)
    np.testing.assert_array_equal(gltf.weights, glb.weights)
    with pytest.raises(FileNotFoundError):
        read_skin(tmp_path / "none.glb")
