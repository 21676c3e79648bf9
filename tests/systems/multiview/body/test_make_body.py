"""`refkp multiview make-body` from everything that a lab may have."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jsonargparse", reason="needs the extra `train`")

from refkp.cli import main
from refkp.systems.multiview.body.files import read_body
from refkp.systems.multiview.body.species import SPECIES, species_body
from tests.support.skins import RigFile, placed, rigged_chain

BONES = "joint,parent,length\nfoot,knee,3\nhip,,\nknee,hip,4\ntail,hip,2\n"


def made(*arguments: object) -> int:
    return main(["multiview", "make-body", *map(str, arguments)])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of an error; nothing is written."""
    assert made(*arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


@pytest.mark.parametrize("name", SPECIES)
def test_of_a_species(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert made(name, tmp_path / "new" / "body.npz") == 0
    body = read_body(tmp_path / "new" / "body.npz")
    assert body.joint_names == species_body(name).joint_names
    told = capsys.readouterr().out.splitlines()
    assert len(told) == body.num_joints + 1
    sizes = f"{body.num_joints} joints, {len(body.vertices)} vertices, {len(body.faces)} faces, {body.num_betas} shapes"
    assert f"body.npz: {sizes}, which its joints follow; {body.length:.4g} long" in told[-1]


def test_of_a_table_of_bones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bones.csv").write_text(BONES)
    assert made(tmp_path / "bones.csv", tmp_path / "body.npz") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:4] == ["hip", "  knee  4", "    foot  3", "  tail  2"]
    assert "4 joints, 126 vertices, 240 faces, no shapes; 7 long" in told[4]


def test_of_a_rig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = rigged_chain()
    file.document["materials"].append({})
    assert made(file.save(tmp_path / "rig.glb"), tmp_path / "body.npz") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:3] == ["hip", "  knee  1", "    foot  2"]
    assert told[3:5] == ["shapes: longer, thicker", "not in the body: colours and textures"]
    assert "3 joints, 24 vertices, 44 faces, 2 shapes, which its joints do not follow; 3 long" in told[5]
    assert read_body(tmp_path / "body.npz").num_betas == 2


def test_another_pose_of_the_nodes_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = rigged_chain()
    file.document["nodes"][1]["rotation"] = [0.5, 0.5, 0.5, 0.5]
    assert made(file.save(tmp_path / "rig.glb"), tmp_path / "body.npz") == 0
    assert (
        "the body rests as its mesh was bound; the nodes of the file stand in another p"
        in capsys.readouterr().out
    )


def test_of_a_pickle_and_of_a_body(tmp_path: Path) -> None:
    body = species_body("mouse")
    values = {
        "v_template": body.vertices.numpy(),
        "f": body.faces.numpy(),
        "kintree_table": np.array([body.parents, range(15)]),
        "J": body.rest_joints.numpy(),
        "weights": body.weights.numpy(),
        "static_joint_locs": True,
    }
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(values))
    assert made(tmp_path / "model.pkl", tmp_path / "body.npz") == 0
    assert made(tmp_path / "body.npz", tmp_path / "again.npz") == 0
    assert (read_body(tmp_path / "again.npz").vertices == body.vertices).all()


def test_broken_sources_are_one_line_and_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "body.npz"
    (tmp_path / "bad.csv").write_text("joint,parent,length\na,,\nb,a,-1\n")
    (tmp_path / "flat.csv").write_text("joint,parent,x,y,z\na,,0,0,0\nb,a,0,0,0\n")
    (tmp_path / "bad.glb").write_bytes(b"glTF")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    (tmp_path / "bad.pkl").write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
    stretched = rigged_chain(np.diag([1.0, 2, 1, 1])).save(tmp_path / "stretched.glb")
    assert "source` must be a .glb, .gltf, .csv, .npz or .pkl file, or one of insect" in refused(
        capsys, "cat", out
    )
    assert "bad.csv` must be with a length above 0 of 'b'" in refused(capsys, tmp_path / "bad.csv", out)
    assert "flat.csv: skeleton_body: `bones` must be" in refused(capsys, tmp_path / "flat.csv", out)
    assert "bad.glb is no valid glTF" in refused(capsys, tmp_path / "bad.glb", out)
    assert "bad.npz is no whole .npz of arrays" in refused(capsys, tmp_path / "bad.npz", out)
    assert "bad.pkl asks for os.system" in refused(capsys, tmp_path / "bad.pkl", out)
    assert "stretched.glb: skinned_body: `bind of 'hip'` must be a turn" in refused(capsys, stretched, out)
    assert "none.glb" in refused(capsys, tmp_path / "none.glb", out)
    assert "`body` must be a name that ends in .npz" in refused(capsys, "mouse", tmp_path / "body.pkl")
    assert "`body` must be the name of a file" in refused(capsys, "mouse", tmp_path)
    assert "`skin` must be left out but for .glb" in refused(capsys, "mouse", out, "--skin", "0")
    assert not out.parent.exists()


def test_of_several_skeletons_one_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = RigFile()
    for name in ("cat", "dog"):
        root = file.add_node(name)
        skin = file.add_skin(
            [root, file.add_node("tail", root)], np.stack([placed(), placed(None, (1, 0, 0))])
        )
        file.document["skins"][skin]["name"] = name
        one = np.tile([1.0, 0, 0, 0], (3, 1))
        file.add_mesh(skin, np.eye(3), np.array([[0, 1, 2]]), [(np.zeros((3, 4)), one)])
    path = file.save(tmp_path / "rig.glb")
    assert "got several: 'cat', 'dog'. Choose one with --skin" in refused(capsys, path, tmp_path / "body.npz")
    assert made(path, tmp_path / "body.npz", "--skin", "dog") == 0
    assert read_body(tmp_path / "body.npz").joint_names == ("dog", "tail")
