"""Body files as they are found, and as they are written."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from refkp.systems.multiview.body.files import read_body, write_body
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.posing import BodyPose, pose_body
from refkp.systems.multiview.body.species import SPECIES, species_body

PARENTS = (-1, 0, 1, 0)
JOINTS, VERTICES, SHAPES = 4, 9, 3


def fields(**changes: Any) -> dict[str, Any]:
    """A body as SMIL files have it; fields that are None are left out."""
    rng = np.random.default_rng(0)
    weights = np.zeros((VERTICES, JOINTS), np.float32)
    weights[np.arange(VERTICES), np.arange(VERTICES) % JOINTS] = 0.75
    weights[np.arange(VERTICES), (np.arange(VERTICES) + 1) % JOINTS] += 0.25
    regressor = rng.dirichlet(np.ones(VERTICES), size=JOINTS).astype(np.float32)
    values = {
        "f": np.array([[0, 1, 2], [2, 3, 4], [6, 7, 8]], np.int32),
        "v_template": rng.normal(size=(VERTICES, 3)),
        "shapedirs": rng.normal(size=(VERTICES, 3, SHAPES)),
        "posedirs": np.zeros(0),
        "J_regressor": regressor,
        "J": rng.normal(size=(JOINTS, 3)).astype(np.float32),
        "weights": weights,
        "kintree_table": np.array([PARENTS, range(JOINTS)], np.int32),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
        "sym_verts": np.arange(3),
        "scaledirs": [],
        "transdirs": [],
        "J_names": ["hip", "knee", "foot", "tail"],
    } | changes
    return {name: value for name, value in values.items() if value is not None}


def written(folder: Path, values: dict[str, Any], suffix: str = ".pkl") -> Path:
    path = folder / f"body{suffix}"
    if suffix == ".npz":
        np.savez(path, **values)
    else:
        path.write_bytes(pickle.dumps(values))
    return path


def same_bodies(one: Body, other: Body) -> None:
    for field in dataclasses.fields(Body):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype, field.name
            assert torch.equal(a, b), field.name
        else:
            assert a == b, field.name


@pytest.mark.parametrize("suffix", [".pkl", ".npz", ".pickle"])
def test_the_fields_of_a_file(suffix: str, tmp_path: Path) -> None:
    values = fields()
    body = read_body(written(tmp_path, values, suffix))
    np.testing.assert_array_equal(body.vertices, values["v_template"].astype(np.float32))
    np.testing.assert_array_equal(body.faces, values["f"])
    np.testing.assert_array_equal(body.weights, values["weights"])
    np.testing.assert_array_equal(body.shapedirs, values["shapedirs"].astype(np.float32))
    assert body.regressor is not None
    np.testing.assert_array_equal(body.regressor, values["J_regressor"])
    torch.testing.assert_close(
        body.rest_joints, body.regressor @ body.vertices
    )  # not `J`, which may be older
    assert body.parents == PARENTS
    assert body.joint_names == ("hip", "knee", "foot", "tail")
    assert body.trans_sign == (1.0, -1.0, 1.0)
    assert (body.posedirs, body.scaledirs, body.transdirs, body.limits) == (None, None, None, None)
    assert (body.faces.dtype, body.vertices.dtype) == (torch.int64, torch.float32)


def test_fields_of_other_types_are_the_same_body(tmp_path: Path) -> None:
    """As older programs wrote them: unsigned parents, sparse regressors, missing and empty fields, names as bytes."""
    sparse = pytest.importorskip("scipy.sparse")
    values = fields()
    want = read_body(written(tmp_path, values))
    parents = np.array([(2**32 - 1, *PARENTS[1:]), range(JOINTS)], np.uint32)
    changes: dict[str, Any] = {
        "kintree_table": parents,
        "f": values["f"].astype(np.uint32),
        "J_regressor": sparse.csc_matrix(values["J_regressor"]),
        "posedirs": [],
        "scaledirs": np.zeros((0, JOINTS, 3)),
        "transdirs": None,
        "bs_type": None,
        "weights": values["weights"].astype(np.float64),
        "J": None,
        "J_names": np.array([b"hip", b"knee", b"foot", b"tail"]),
        "static_joint_locs": False,
        "shape_cov": np.zeros((0, 0)),
    }
    same_bodies(read_body(written(tmp_path, fields(**changes))), want)
    for table in (parents.astype(np.int64), parents.astype(np.uint64), parents.astype(np.float64)):
        same_bodies(read_body(written(tmp_path, fields(kintree_table=table))), want)


def test_joints_without_names_are_numbered_and_shapes_may_be_missing(tmp_path: Path) -> None:
    body = read_body(written(tmp_path, fields(J_names=None, shapedirs=None)))
    assert body.joint_names == ("joint_0", "joint_1", "joint_2", "joint_3")
    assert body.num_betas == 0
    assert (
        read_body(written(tmp_path, fields(J_names=[], shapedirs=np.zeros((VERTICES, 3, 0))))).num_betas == 0
    )


def test_static_joints_stay_where_the_file_has_them(tmp_path: Path) -> None:
    values = fields(J_regressor=np.zeros((JOINTS, VERTICES), np.float32), static_joint_locs=True)
    body = read_body(written(tmp_path, values))
    assert body.regressor is None
    np.testing.assert_array_equal(body.rest_joints, values["J"])


def test_what_else_a_body_may_have(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    optional = {
        "posedirs": rng.normal(size=(VERTICES, 3, 9 * (JOINTS - 1))),
        "scaledirs": rng.normal(size=(2, JOINTS, 3)),
        "transdirs": rng.normal(size=(2, JOINTS, 3)),
        "trans_sign": [1, 1, -1],
        "joint_limits": rng.uniform(size=JOINTS),
        "shape_mean_betas": rng.normal(size=SHAPES),
        "shape_cov": np.eye(SHAPES),
    }
    for suffix in (".pkl", ".npz"):
        body = read_body(written(tmp_path, fields(**optional), suffix))
        own = (
            body.posedirs,
            body.scaledirs,
            body.transdirs,
            body.trans_sign,
            body.limits,
            body.shape_mean,
            body.shape_cov,
        )
        for got, want in zip(own, optional.values(), strict=True):
            np.testing.assert_array_equal(got, np.float32(want))


ODD = {
    "a zero regressor": (
        dict(J_regressor=np.zeros((JOINTS, VERTICES))),
        "`J_regressor` must be of rows that sum to 1, for the joints are not static; got zeros.*`static_joint_locs`",
    ),
    "no regressor": (dict(J_regressor=None), "`J_regressor` must be there.*`static_joint_locs`"),
    "static without J": (dict(static_joint_locs=True, J=None), "`J` must be there"),
    "weights that do not sum to 1": (
        dict(weights=np.full((VERTICES, JOINTS), 0.2)),
        r"`weights` must be of rows that sum to 1; got 0\.8 in row 0",
    ),
    "a regressor that does not": (
        dict(J_regressor=np.full((JOINTS, VERTICES), 0.2)),
        r"`regressor` must be of rows that sum to 1; got 1\.8 in row 0",
    ),
    "no weights": (dict(weights=None), "`weights_index` must be there"),
    "axes of scaledirs exchanged": (
        dict(scaledirs=np.zeros((JOINTS, 3, 2))),
        r"`scaledirs` must be \[C,J,3\] with J=4, C=4; got \[4,3,2\]",
    ),
    "components last": (dict(transdirs=np.zeros((3, JOINTS, 2))), r"`transdirs` must be \[C,J,3\] with J=4"),
    "scaledirs and transdirs of other numbers": (
        dict(scaledirs=np.ones((2, JOINTS, 3)), transdirs=np.ones((3, JOINTS, 3))),
        r"`transdirs` must be \[C,J,3\] with J=4, C=2; got \[3,4,3\]",
    ),
    "posedirs of other joints": (
        dict(posedirs=np.zeros((VERTICES, 3, 207))),
        r"`posedirs` must be \[N,3,P\] with N=9, P=27; got \[9,3,207\]",
    ),
    "a parent after its child": (
        dict(kintree_table=np.array([[-1, 2, 0, 0], range(4)])),
        "`parents` must be -1 for",
    ),
    "two roots": (dict(kintree_table=np.array([[-1, -1, 0, 0], range(4)])), "`parents` must be -1 for"),
    "numbers of joints in another order": (
        dict(kintree_table=np.array([PARENTS, [0, 2, 1, 3]])),
        "`kintree_table` must be the parents above the numbers 0 to J-1",
    ),
    "names of other joints": (dict(J_names=["a", "b"]), "`joint_names` must be 4 different names"),
    "a name twice": (dict(J_names=["a", "b", "b", "c"]), "`joint_names` must be 4 different names"),
    "a face of no vertex": (dict(f=np.array([[0, 1, 9]])), "`faces` must be of vertices 0 to 8; got 0 to 9"),
    "a face that is none": (dict(f=np.array([[0, 1, 2.5]])), r"`f` must be whole numbers; got 2\.5"),
    "a vertex that is not finite": (
        dict(v_template=np.full((VERTICES, 3), np.nan)),
        "`vertices` must be finite",
    ),
    "text for numbers": (dict(v_template=["a"]), "`v_template` must be numbers along 2 axes"),
    "a list of lists of other lengths": (dict(v_template=[[0, 1], [2]]), "v_template|inhomogeneous"),
    "shapedirs of other vertices": (dict(shapedirs=np.zeros((3, 3, 2))), r"`shapedirs` must be \[N,3,B\]"),
    "no template": (
        dict(v_template=None),
        "must be with the fields v_template, f, kintree_table; got none of v_t",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_what_does_not_fit_is_told_and_never_guessed(name: str, tmp_path: Path) -> None:
    changes, told = ODD[name]
    path = written(tmp_path, fields(**changes))
    with pytest.raises(ValueError, match=rf"(?s)read_body.*body\.pkl.*({told})"):
        read_body(path)


@pytest.mark.parametrize("value", [[1, 2], "text", 3.0, np.zeros(3)])
def test_a_pickle_of_something_else(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "body.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match=r"body\.pkl` must be a table of arrays"):
        read_body(path)


def test_sparse_fields_out_of_range_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    write_body(good, read_body(written(tmp_path, fields())))
    with np.load(good) as file:
        values = dict(file)
    for name, wrong in (
        ("weights_index", -1),
        ("weights_index", 4),
        ("J_regressor_joint", 4),
        ("J_regressor_vertex", -9),
    ):
        broken = {key: value.copy() for key, value in values.items()}
        broken[name].flat[0] = wrong
        with pytest.raises(ValueError, match=r"body\.npz.*weights_index|body\.npz.*J_regressor_joint"):
            read_body(written(tmp_path, broken, ".npz"))
    short = values | {"weights_value": values["weights_value"][:-1]}
    with pytest.raises(ValueError, match=r"body\.npz.*weights_index"):
        read_body(written(tmp_path, short, ".npz"))


@pytest.mark.parametrize("name", [*SPECIES, "file", "static", "all fields"])
def test_a_body_is_the_same_bit_for_bit_after_writing_and_reading(name: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {}
    if name == "static":
        changes = {"static_joint_locs": True, "J_regressor": None}
    if name == "all fields":
        dirs = {
            key: np.random.default_rng(2).normal(size=(5, JOINTS, 3)) for key in ("scaledirs", "transdirs")
        }
        posedirs = np.random.default_rng(3).normal(size=(VERTICES, 3, 27))
        others = {
            "joint_limits": np.ones(JOINTS) / 3,
            "shape_mean_betas": np.ones(3) / 7,
            "shape_cov": np.eye(3),
        }
        changes = {**dirs, "posedirs": posedirs, **others, "trans_sign": [1, 1, 1]}
    body = species_body(name) if name in SPECIES else read_body(written(tmp_path, fields(**changes)))
    write_body(tmp_path / "a" / "body.npz", body)
    again = read_body(tmp_path / "a" / "body.npz")
    same_bodies(again, body)
    write_body(tmp_path / "a" / "body.npz", again)
    same_bodies(read_body(tmp_path / "a" / "body.npz"), body)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["body.npz"]


def test_a_body_in_double_is_written_in_float32(tmp_path: Path) -> None:
    body = species_body("mouse")
    write_body(tmp_path / "body.npz", body.to(dtype=torch.float64))
    same_bodies(read_body(tmp_path / "body.npz"), body)
    assert body.to(dtype=torch.float64).faces.dtype == torch.int64


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"read_body: `path` must be a body file, \.npz, \.pkl.*make-body"):
        read_body(tmp_path / "body.blend")
    with pytest.raises(ValueError, match=r"write_body: `path` must be a \.npz file"):
        write_body(tmp_path / "body.pkl", species_body("mouse"))
    for suffix in (".npz", ".pkl"):
        with pytest.raises(FileNotFoundError):
            read_body(tmp_path / f"body{suffix}")
    assert not list(tmp_path.iterdir())


def test_an_npz_runs_nothing(tmp_path: Path) -> None:
    """Arrays of objects are pickles."""
    path = tmp_path / "body.npz"
    np.savez(path, **fields(J_names=np.array(["hip", "knee", "foot", "tail"], dtype=object)))
    with pytest.raises(ValueError, match=r"body\.npz is no whole \.npz of arrays.*allow_pickle"):
        read_body(path)


@pytest.mark.realdata
@pytest.mark.skipif("REFKP_DATA" not in os.environ, reason="needs $REFKP_DATA")
def test_the_stick_insect(tmp_path: Path) -> None:
    body = read_body(Path(os.environ["REFKP_DATA"]) / "multiview" / "stick_insect_smil.npz")
    assert (body.num_joints, len(body.vertices), len(body.faces), body.num_betas) == (55, 3020, 6019, 5)
    assert (body.regressor is None, body.posedirs, body.trans_sign) == (False, None, (1.0, -1.0, 1.0))
    assert body.scaledirs is not None
    assert body.transdirs is not None
    assert body.scaledirs.shape == body.transdirs.shape == (5, 55, 3)
    assert not body.scaledirs[:, 0].any()
    assert int((body.weights > 0).sum(1).max()) == 2
    assert body.length == pytest.approx(1.685, abs=1e-3)
    write_body(tmp_path / "stick.npz", body)
    same_bodies(read_body(tmp_path / "stick.npz"), body)
    pose = BodyPose(torch.eye(3).expand(1, 55, 3, 3), body.rest_joints[:1])
    torch.testing.assert_close(pose_body(body, pose).vertices[0], body.vertices, atol=2e-6, rtol=0)
