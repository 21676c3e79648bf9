"""Broken bodies: body files, pickles of models, rigs in glTF, tables of bones and of joints."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from refkp.data.mesh_files.gltf_skins import read_skin
from refkp.systems.multiview.body.bone_table import read_skeleton
from refkp.systems.multiview.body.files import read_body, write_body
from refkp.systems.multiview.body.joint_table import read_joint_table
from refkp.systems.multiview.body.skeleton import Bone, skeleton_body
from tests.fuzz.readers.judge import check_reader
from tests.support.skins import rigged_chain

BODY = skeleton_body(
    [Bone("hip", "", (0, 0, 0)), Bone("knee", "hip", (1, 0, 0)), Bone("foot", "knee", (1, 0, -1))]
)


@pytest.mark.parametrize("compressed", [True, False])
def test_broken_body_files(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "body.npz"
    write_body(path, BODY)
    if not compressed:  # so that broken bytes reach the arrays, whatever the sum of the file says
        with np.load(path) as file:
            np.savez(path, **dict(file))
    check_reader(f"body {compressed}", tmp_path, lambda: read_body(path), (path.name,))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_broken_pickles(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "body.pkl"
    values = {
        "v_template": BODY.vertices.numpy(),
        "f": BODY.faces.numpy(),
        "kintree_table": np.array([(2**32 - 1, *BODY.parents[1:]), range(3)], np.uint32),
        "J": BODY.rest_joints.numpy(),
        "weights": np.asfortranarray(BODY.weights.numpy()),
        "static_joint_locs": np.bool_(True),
        "J_names": list(BODY.joint_names),
        "scaledirs": [],
    }
    path.write_bytes(pickle.dumps(values, protocol=protocol))
    check_reader(f"model {protocol}", tmp_path, lambda: read_body(path), (path.name,))


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_broken_rigs(suffix: str, tmp_path: Path) -> None:
    file = rigged_chain()
    path = file.save(tmp_path / "rig.glb")
    if suffix == ".gltf":
        path.unlink()
        path = tmp_path / "rig.gltf"
        uri = "data:application/octet-stream;base64," + base64.b64encode(file.binary).decode()
        file.document["buffers"] = [{"byteLength": len(file.binary), "uri": uri}]
        path.write_text(json.dumps(file.document))
    check_reader(f"rig {suffix}", tmp_path, lambda: read_skin(path), (path.name,))


def test_broken_tables_of_bones(tmp_path: Path) -> None:
    path = tmp_path / "bones.csv"
    path.write_text("joint,parent,length,radius\nhip,,,\nknee,hip,1,0.1\nfoot,knee,2.5,\ntail,hip,1e-1,0.2\n")
    check_reader("bones", tmp_path, lambda: read_skeleton(path), (path.name,))
    path.write_text("joint,parent,x,y,z,limit_deg\nfoot,knee,0,0,1,45\nhip,,0,0,0,\nknee,hip,1,0,0,\n")
    check_reader("places", tmp_path, lambda: read_skeleton(path), (path.name,))


def test_broken_tables_of_joints(tmp_path: Path) -> None:
    path = tmp_path / "joints.csv"
    path.write_text("model,data\nhip,Hip\nknee,Knee_1\nfoot,\n")
    check_reader("joints", tmp_path, lambda: read_joint_table(path), (path.name,))
