"""Bodies of bones: joints that vertices tell in every pose, and tables of bones as people write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from refkp.geometry.kinematics import forward_kinematics
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.body.bone_table import read_skeleton
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly, pose_body
from refkp.systems.multiview.body.skeleton import Bone, Shape, axes_along, skeleton_body

BONES = [
    Bone("root", "", (0.5, -1.0, 2.0)),
    Bone("arm", "root", (1.5, -1.0, 2.0), 0.2, 90),
    Bone("hand", "arm", (1.5, 0.5, 2.5), 0.1, 45, 0.3),
    Bone("leg", "root", (0.5, -1.0, 0.0)),
]
SHAPES = (Shape({"hand": 0.5, "leg": -0.25}, {}), Shape({}, {"hand": 1.0}), Shape({"arm": 0.1}, {"arm": 0.2}))


def body() -> Body:
    return skeleton_body(BONES, SHAPES).to(dtype=torch.float64)


def lengths(joints: Tensor, parents: tuple[int, ...]) -> Tensor:
    return (joints[..., 1:, :] - joints[..., list(parents[1:]), :]).norm(dim=-1)


def volumes(vertices: Tensor, faces: Tensor, capsules: int) -> Tensor:
    """Of each capsule; positive if its faces point outwards."""
    corners = vertices[faces].unflatten(0, (capsules, -1))
    return torch.linalg.det(corners - vertices.unflatten(0, (capsules, -1)).mean(1)[:, None, None]).sum(1) / 6


def test_joints_are_where_the_bones_say() -> None:
    got = skeleton_body(BONES, SHAPES)
    places = torch.tensor([bone.place for bone in BONES])
    torch.testing.assert_close(got.rest_joints, places, atol=1e-6, rtol=0)
    assert got.regressor is not None
    torch.testing.assert_close(got.regressor @ got.vertices, places, atol=1e-6, rtol=0)
    assert (got.parents, got.joint_names) == ((-1, 0, 1, 0), ("root", "arm", "hand", "leg"))
    assert got.limits is not None
    torch.testing.assert_close(got.limits.rad2deg(), torch.tensor([180.0, 90, 45, 180]))
    assert (got.weights.sum(1) == 1).all()


def random_pose(of: Body, *, offsets: bool = True) -> BodyPose:
    shape = (5, of.num_joints, 3)
    rotations = axis_angle_to_matrix(torch.randn(shape, dtype=torch.float64))
    trans, betas = torch.randn(5, 3).double(), torch.randn(5, of.num_betas).double() * 0.3
    return BodyPose(rotations, trans, betas, None, torch.randn(shape).double() * 0.2 if offsets else None)


@pytest.mark.parametrize("offsets", [False, True])
def test_joints_of_the_vertices_are_those_of_the_chain_in_every_pose(offsets: bool) -> None:
    of, pose = body(), random_pose(body(), offsets=offsets)
    posed = pose_body(of, pose)
    assert of.regressor is not None
    chain = posed.frames.position - posed.frames.position[:, :1] + pose.trans[:, None]
    torch.testing.assert_close(posed.joints, chain, atol=1e-6, rtol=0)
    torch.testing.assert_close(of.regressor @ posed.vertices, chain, atol=1e-6, rtol=0)
    torch.testing.assert_close(JointsOnly(of)(pose), chain, atol=1e-6, rtol=0)


def test_a_bone_gets_longer_by_its_offset() -> None:
    of, pose = body(), random_pose(body())
    pose = pose._replace(betas=None)
    rest = of.rest_joints[1:] - of.rest_joints[[0, 1, 0]]
    assert pose.offsets is not None
    want = forward_kinematics(pose.rotations, torch.cat((of.rest_joints[:1].expand(5, 1, 3),
                              rest + pose.offsets[:, 1:]), 1), of.parents).position  # fmt: skip
    torch.testing.assert_close(
        pose_body(of, pose).joints, want - want[:, :1] + pose.trans[:, None], atol=1e-6, rtol=0
    )
    torch.testing.assert_close(lengths(want, of.parents), (rest + pose.offsets[:, 1:]).norm(dim=-1))


def test_shapes_change_lengths_and_radii_by_their_shares() -> None:
    of, betas = body(), torch.tensor([[0.0, 0, 0], [1, 0, 0], [-2, 0, 0], [0, 1.5, 0], [0, 0, 2.0]]).double()
    posed = pose_body(
        of, BodyPose(torch.eye(3).double().expand(5, 4, 3, 3), torch.zeros(5, 3).double(), betas)
    )
    rest = lengths(of.rest_joints, of.parents)
    shares = torch.tensor([[0.0, 0, 0], [0, 0.5, -0.25], [0, -1.0, 0.5], [0, 0, 0], [0.2, 0, 0]])
    torch.testing.assert_close(lengths(posed.joints, of.parents), rest * (1 + shares), atol=1e-6, rtol=0)
    capsules = posed.vertices.unflatten(1, (3, -1))
    radii = (capsules[:, :, 24:32] - posed.joints[:, 1:, None]).norm(dim=-1)
    assert float(radii.std(-1).max()) < 1e-6
    want = torch.tensor([0.2, 0.1, 0.24]) * torch.tensor(
        [[1.0, 1, 1], [1, 1, 1], [1, 1, 1], [1, 2.5, 1], [1.4, 1, 1]]
    )
    torch.testing.assert_close(radii.mean(-1), want.double(), atol=1e-6, rtol=0)


def test_capsules_are_closed_and_point_outwards() -> None:
    of = body()
    found = volumes(of.vertices, of.faces, 3)
    length = lengths(of.rest_joints, of.parents)
    start, end = torch.tensor([0.2, 0.3, 0.24]), torch.tensor([0.2, 0.1, 0.24])
    cones = torch.pi / 3 * length * (start**2 + start * end + end**2)
    caps = 2 / 3 * torch.pi * (start**3 + end**3)
    assert ((found / (cones + caps)) > 0.8).all()  # eight corners in place of a circle
    assert ((found / (cones + caps)) < 1.0).all()
    edges = torch.cat([of.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    assert len(edges.unique(dim=0)) == len(edges)
    assert torch.equal(edges.unique(dim=0), edges.flip(1).unique(dim=0))
    normals = torch.linalg.cross(*(of.vertices[of.faces[:, k]] - of.vertices[of.faces[:, 0]] for k in (1, 2)))
    assert (normals.norm(dim=-1) > 1e-6).all()


def test_a_radius_that_nobody_tells_is_a_share_of_the_bone() -> None:
    small = skeleton_body([Bone("a", "", (0, 0, 0)), Bone("b", "a", (0, 0, 2.0))])
    torch.testing.assert_close(small.vertices[8:16, :2].norm(dim=1), torch.full((8,), 0.24))
    assert small.num_betas == 0


def test_axes_are_right_handed() -> None:
    for direction in np.random.default_rng(0).normal(size=(20, 3)):
        axes = np.stack(axes_along(direction))
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) > 0
        assert axes[0] @ direction == pytest.approx(np.linalg.norm(direction))


@pytest.mark.parametrize(
    ("bones", "told"),
    [
        ([], "at least two, of different names"),
        (BONES[:1], "at least two, of different names"),
        ([*BONES, BONES[-1]], "at least two, of different names"),
        (BONES[1:], "the root first, with the parent ''.*'arm' with the parent 'root'"),
        ([BONES[0], BONES[2], BONES[1]], "parents come before them; got 'hand' with the parent 'arm'"),
        ([BONES[0], Bone("b", "", (1, 1, 1))], "got 'b' with the parent ''"),
        (
            [BONES[0], Bone("b", "root", BONES[0].place)],
            "of a length and radii above 0; got length 0 .* of 'b'",
        ),
        ([BONES[0], Bone("b", "root", (1, 1, 1), -0.1)], r"radii \[-0\.1, -0\.1\] of 'b'"),
        ([BONES[0], Bone("b", "root", (1, 1, float("inf")))], "got length inf"),
    ],
)
def test_bones_that_make_no_body(bones: list[Bone], told: str) -> None:
    with pytest.raises(ValueError, match=f"skeleton_body: `bones` must be .*{told}"):
        skeleton_body(bones)


def test_a_shape_of_a_joint_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match="`shapes` must be of joints of the body, root, arm, hand, leg; got tail"
    ):
        skeleton_body(BONES, [Shape({"tail": 1.0}, {})])


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "bones.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_table_with_places(tmp_path: Path) -> None:
    """Rows in any order, spaces, empty rows and fields, more columns, and the mark that spreadsheets put in front."""
    text = (
        "joint, parent ,x,y,z,radius,limit_deg,note\r\nhand,arm,1.5,0.5,2.5,0.1,45,right\r\n\r\n"
        " arm ,root,1.5,-1,2,0.2,90,\r\n,,,,,,,\r\nroot,,0.5,-1e0,2\r\nleg,root,0.5,-1,0,,,x,y\r\n"
    )
    got = read_skeleton(table(tmp_path, text, "utf-8-sig"))
    assert [bone._replace(start_radius=0.0) for bone in BONES if bone.joint != "hand"] == [
        bone for bone in got if bone.joint != "hand"
    ]
    assert got[[bone.joint for bone in got].index("hand")] == BONES[2]._replace(start_radius=0.0)
    assert got[0].joint == "root"
    wide = read_skeleton(table(tmp_path, "joint,parent,x,y,z,start_radius\na,,0,0,0,\nb,a,1,0,0,0.5\n"))
    assert wide[1] == Bone("b", "a", (1.0, 0.0, 0.0), 0.0, 180.0, 0.5)


def test_a_table_with_lengths_alone(tmp_path: Path) -> None:
    text = "joint,parent,length\ntip,b,0.5\nroot,,\na,root,2\nb,root,1\nc,root,3\nd,a,1\ne,a,1\nf,a,1\n"
    got = {bone.joint: bone for bone in read_skeleton(table(tmp_path, text))}
    for name, length in (("tip", 0.5), ("a", 2), ("b", 1), ("c", 3), ("d", 1), ("e", 1), ("f", 1)):
        step = np.subtract(got[name].place, got[got[name].parent].place)
        assert np.linalg.norm(step) == pytest.approx(length)
    assert got["root"].place == (0.0, 0.0, 0.0)
    places = np.array([bone.place for bone in got.values()])
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + 9 * np.eye(len(places))
    assert apart.min() > 0.2  # no two joints in one place
    assert np.linalg.matrix_rank([got[name].place for name in "abc"], tol=0.3) == 3  # nor all in one plane
    onwards = np.array(got["a"].place) / 2
    for name in "def":  # they go on from where their parent's bone came
        assert np.subtract(got[name].place, got["a"].place) @ onwards >= 0.49
    assert skeleton_body(list(got.values())).num_joints == 8


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "with the columns joint, parent, and x,y,z or length; got an empty file"),
        ("name,parent,x,y,z\n", "with the columns joint, parent, and x,y,z or length; got name, parent"),
        ("joint,parent,x,y\na,,0,0\n", "with the columns joint, parent, and x,y,z or length"),
        ("joint,parent,length\n", "with one joint without a parent; got "),
        ("joint,parent,length\na,,\nb,,1\n", r"with one joint without a parent; got \['a', 'b'\]"),
        ("joint,parent,length\na,,\nb,c,1\n", "a tree.*got 'b' with the parent 'c'"),
        ("joint,parent,length\na,,\nb,c,1\nc,b,1\n", "a tree.*got 'b' with the parent 'c'"),
        ("joint,parent,length\na,,\nb,a,1\nb,a,2\n", "with a different name for each joint"),
        ("joint,parent,length\na,,\n,a,1\n", "with a different name for each joint"),
        ("joint,parent,length\na,,\nb,a,long\n", "with a number as length of 'b'; got 'long'"),
        ("joint,parent,length\na,,\nb,a,\n", "with a number as length of 'b'; got ''"),
        ("joint,parent,length\na,,\nb,a,nan\n", "with a number as length of 'b'; got 'nan'"),
        ("joint,parent,length\na,,\nb,a,0\n", "with a length above 0 of 'b'; got 0"),
        ("joint,parent,length\na,,\nb,a,-1\n", "with a length above 0 of 'b'; got -1"),
        ("joint,parent,x,y,z\na,,0,0,0\nb,a,1,0\n", "with a number as z of 'b'; got ''"),
        ("joint,parent,length,radius\na,,,\nb,a,1,thick\n", "with a number as radius of 'b'; got 'thick'"),
    ],
)
def test_tables_that_make_no_skeleton(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"read_skeleton: `.*bones\.csv` must be .*{told}"):
        read_skeleton(table(tmp_path, text))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"read_skeleton: .*bones\.csv is no CSV file"):
        read_skeleton(table(tmp_path, "joint,parent,length\nk\u00f6rper,,\n", "latin1"))
    with pytest.raises(FileNotFoundError):
        read_skeleton(tmp_path / "none.csv")
