"""A folder of all formats: every file gives the animal back, seen by the cameras of the folder where it was seen."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.body.posing import JointsOnly
from refkp.systems.multiview.export import FORMATS, Clip, export, read_cameras, read_motion
from tests.systems.multiview.export.bvh_player import play_bvh
from tests.systems.multiview.export.clips import bodies, centres, moving, posed, size_of
from tests.systems.multiview.export.gltf_player import Player
from tests.systems.multiview.export.rigs import made_up_calibration

FRAMES = (100, 104, 111)


def of_poses(folder: Path, clip: Clip) -> Tensor:
    return posed(read_motion(folder, clip.body)).joints


def of_gltf(folder: Path, clip: Clip) -> Tensor:
    """Joints regressed from the vertices; those of the file itself where the body has no regressor."""
    player = Player(folder / "motion.glb")
    back = np.linalg.inv(player.world)
    joints = []
    for frame in range(len(player.times)):
        points = player.joints(frame)
        if clip.body.regressor is not None:
            points = clip.body.regressor.double().numpy() @ player.vertices(frame)
        joints.append(points @ back[:3, :3].T + back[:3, 3])
    return torch.from_numpy(np.stack(joints))


def of_bvh(folder: Path, clip: Clip) -> Tensor:
    played = play_bvh(folder / "motion.bvh")
    order = [played.names.index("_".join(name.split())) for name in clip.body.joint_names]
    return torch.from_numpy(played.joints[:, order] @ clip.y_up)


def of_table(folder: Path, clip: Clip) -> Tensor:
    """The angles and the root of the table on the body with its shape, size and offsets."""
    with (folder / "joint_angles.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    root = [[float(row[f"root_{axis}_{clip.unit}"]) for axis in "xyz"] for row in rows]
    parts = ("rx_deg", "ry_deg", "rz_deg")
    names = clip.body.joint_names
    turns = [[[float(row[f"{name}_{part}"]) for part in parts] for name in names] for row in rows]
    body, motion = clip.in_double()
    rotations = axis_angle_to_matrix(torch.tensor(turns, dtype=torch.float64).deg2rad())
    motion = motion._replace(rotations=rotations, trans=torch.tensor(root, dtype=torch.float64))
    return JointsOnly(body)(motion.pose())


def of_meshes(folder: Path, clip: Clip) -> Tensor:
    """Joints of the frames that were written, by the regressor."""
    assert clip.body.regressor is not None
    meshes = [read_obj(folder / f"frame_{frame:06d}.obj") for frame in FRAMES]
    return clip.body.regressor.double() @ torch.from_numpy(np.stack([vertices for vertices, _ in meshes]))


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [N,3] and faces [F,3] as they stand, counted from 1."""
    lines = [line.split() for line in path.read_text().splitlines()]
    vertices = np.array([words[1:] for words in lines if words[0] == "v"], dtype=np.float64)
    return vertices, np.array([words[1:] for words in lines if words[0] == "f"], dtype=np.int64)


READERS = (of_poses, of_gltf, of_bvh, of_table, of_meshes)
NAMES = ("mouse", "insect", "regressed", "static", "with pose blend shapes")
#: Without the meshes of a static body, whose joints stand beside them.
CASES = [(name, read) for name in NAMES for read in READERS if (name, read) != ("static", of_meshes)]


@pytest.mark.parametrize(("name", "read"), CASES)
def test_the_cameras_see_the_joints_where_they_saw_them(
    name: str, read: Callable[[Path, Clip], Tensor], tmp_path: Path
) -> None:
    clip = moving(bodies()[name])
    want = posed(clip).joints
    if read is of_bvh:
        want = centres(clip)
    if read is of_meshes:
        want = want[[int(frame) - 100 for frame in FRAMES]]
    calibration = made_up_calibration(want.mean((0, 1)), distance=20 * size_of(clip))
    export(tmp_path, clip, calibration=calibration, obj_frames=FRAMES)
    before = calibration.rig.project(want)
    after = read_cameras(tmp_path / "cameras.json").rig.project(read(tmp_path, clip))
    assert bool(before.valid.all())
    assert float((after.uv - before.uv).norm(dim=-1).max()) < 1e-3


def test_the_table_of_angles(tmp_path: Path) -> None:
    clip = moving(bodies()["mouse"], unit="cm", fps=20.0)
    (path,) = export(tmp_path, clip, formats=("csv",))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == clip.motion.frames.tolist()
    assert [float(row["time_s"]) for row in rows] == pytest.approx([number / 20 for number in range(12)])
    assert len(rows[0]) == 5 + 4 * clip.body.num_joints
    for row in rows:
        vector = [float(row[f"Tail_1_{part}"]) for part in ("rx_deg", "ry_deg", "rz_deg")]
        assert float(row["Tail_1_angle_deg"]) == pytest.approx(np.linalg.norm(vector), abs=1e-6)
        assert 0 <= float(row["Trunk_angle_deg"]) <= 180


@pytest.mark.parametrize("size", [60.0, 0.004, 1e4])
def test_meshes_come_back_and_count_from_one(size: float, tmp_path: Path) -> None:
    clip = moving(bodies()["quadruped"], size=size)
    paths = export(tmp_path, clip, formats=("obj",), obj_frames=FRAMES)
    for path, frame in zip(paths, FRAMES, strict=True):
        vertices, faces = read_obj(path)
        want = posed(clip).vertices[frame - 100].numpy()
        np.testing.assert_allclose(vertices, want, rtol=0, atol=1e-6 * size_of(clip))
        np.testing.assert_array_equal(faces, clip.body.faces.numpy() + 1)
        lines = path.read_text().splitlines()
        decimals = {
            len(word.partition(".")[2]) for line in lines if line.startswith("v") for word in line.split()[1:]
        }
        assert min(decimals) >= 6


def test_what_is_written_and_what_is_refused(tmp_path: Path) -> None:
    clip = moving(bodies()["insect"], num_frames=3)
    paths = export(tmp_path / "all", clip, calibration=made_up_calibration())
    names = ["poses.npz", "poses.json", "motion.glb", "motion.bvh", "joint_angles.csv", "frame_000100.obj"]
    assert [path.name for path in paths] == [*names, "cameras.json"]
    assert sorted(paths) == sorted((tmp_path / "all").iterdir())
    assert [path.name for path in export(tmp_path / "none", clip)] == names
    assert export(tmp_path / "one", clip, formats=("bvh",)) == (tmp_path / "one/motion.bvh",)
    with pytest.raises(ValueError, match="export: `formats` must be one of 'poses'"):
        export(tmp_path, clip, formats=("fbx",))
    with pytest.raises(ValueError, match="export: `calibration` must be given to write `cameras`"):
        export(tmp_path, clip, formats=FORMATS)
    with pytest.raises(ValueError, match="write_obj: `frame` must be of the clip, 100 to 102; got 7"):
        export(tmp_path, clip, formats=("obj",), obj_frames=(7,))


def test_float32_with_gradients_is_written_as_well(tmp_path: Path) -> None:
    clip = moving(bodies()["regressed"], num_frames=3)
    frames, *values = clip.motion
    learned = [value.float().requires_grad_() for value in values]
    clip32 = replace(clip, body=clip.body.to(dtype=torch.float32), motion=type(clip.motion)(frames, *learned))
    export(tmp_path, clip32, calibration=made_up_calibration())
    joints = of_bvh(tmp_path, clip32)
    want = centres(clip)
    torch.testing.assert_close(joints, want, rtol=0, atol=2e-6 * size_of(clip))
