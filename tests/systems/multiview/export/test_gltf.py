"""A .glb played as the specification says stands where `pose_body` puts the body, at every key frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from refkp.systems.multiview.export import Clip, export
from tests.systems.multiview.export.clips import bodies, moving, posed, size_of
from tests.systems.multiview.export.gltf_player import Player

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
UP = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1)}


def played(folder: Path, clip: Clip) -> Player:
    (path,) = export(folder, clip, formats=("gltf",))
    return Player(path)


def in_world(points: np.ndarray, player: Player) -> np.ndarray:
    back = np.linalg.inv(player.world)
    return points @ back[:3, :3].T + back[:3, 3]


@pytest.mark.parametrize("name", bodies())
def test_every_key_frame_is_that_of_the_body(name: str, tmp_path: Path) -> None:
    clip = moving(bodies()[name])
    player, want = played(tmp_path, clip), posed(clip)
    for frame in range(len(clip.motion.frames)):
        got = in_world(player.vertices(frame), player)
        np.testing.assert_allclose(got, want.vertices[frame].numpy(), rtol=0, atol=1e-6 * size_of(clip))


@pytest.mark.parametrize("name", ["insect", "mouse", "quadruped", "static"])
def test_joints_of_the_file_are_those_of_the_body(name: str, tmp_path: Path) -> None:
    clip = moving(bodies()[name])
    player, want = played(tmp_path, clip), posed(clip)
    for frame in range(len(clip.motion.frames)):
        got = in_world(player.joints(frame), player)
        np.testing.assert_allclose(got, want.joints[frame].numpy(), rtol=0, atol=1e-6 * size_of(clip))


def test_no_weight_is_left_out_and_all_sum_to_one(tmp_path: Path) -> None:
    clip = moving(bodies()["static"])
    player = played(tmp_path, clip)
    assert player.num_sets == 2
    attributes, dense = player.primitive["attributes"], np.zeros((40, 7))
    for number in range(2):
        joints, weights = (player.accessor(attributes[f"{kind}_{number}"]) for kind in ("JOINTS", "WEIGHTS"))
        np.add.at(dense, (np.arange(40)[:, None], joints), weights)
        assert (joints[weights == 0] == 0).all()
    np.testing.assert_allclose(dense, clip.body.weights.numpy(), rtol=0, atol=1e-7)
    np.testing.assert_allclose(dense.sum(1), 1, rtol=0, atol=4e-7)


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
@pytest.mark.parametrize("unit", ["m", "cm", "mm"])
def test_the_world_stands_upright_and_in_metres(up: str, unit: str, tmp_path: Path) -> None:
    clip = moving(bodies()["regressed"], num_frames=2, up=up, unit=unit)
    world = played(tmp_path, clip).world
    axis = np.array(UP[up[-1]]) * (-1 if up.startswith("-") else 1)
    np.testing.assert_allclose(world[:3, :3] @ axis, (0, METRES[unit], 0), atol=1e-12)
    np.testing.assert_allclose(world[:3, :3] @ world[:3, :3].T, METRES[unit] ** 2 * np.eye(3), atol=1e-12)
    assert np.linalg.det(world[:3, :3]) > 0


def test_rotations_never_change_sign_between_frames_and_times_are_seconds(tmp_path: Path) -> None:
    clip = moving(bodies()["mouse"], num_frames=60, fps=50.0)
    clip = replace(clip, motion=clip.motion._replace(frames=torch.arange(7, 67) * 3))
    player = played(tmp_path, clip)
    np.testing.assert_allclose(player.times, np.arange(60) * 3 / 50, rtol=1e-6)
    turns = [channel for channel in player.animation["channels"] if channel["target"]["path"] == "rotation"]
    assert len(turns) == clip.body.num_joints
    for channel in turns:
        q = player.accessor(player.animation["samplers"][channel["sampler"]]["output"])
        np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1, atol=2e-7)
        assert ((q[1:] * q[:-1]).sum(1) > 0).all()


def test_pose_blend_shapes_are_morph_targets_and_zeros_are_left_out(tmp_path: Path) -> None:
    made = bodies()
    assert len(played(tmp_path, moving(made["with pose blend shapes"])).primitive["targets"]) == 45
    assert "targets" not in played(tmp_path, moving(made["with pose blend shapes of zeros"])).primitive


def test_one_frame_and_many_joints(tmp_path: Path) -> None:
    body = bodies()["static"]
    more = 300 - body.num_joints
    many = replace(
        body,
        parents=(*body.parents, *range(6, 6 + more)),
        joint_names=tuple(map(str, range(300))),
        rest_joints=torch.cat((body.rest_joints, torch.randn(more, 3).double())),
        weights=torch.cat((torch.zeros(40, more).double(), body.weights), dim=1),
    )
    clip = moving(many, num_frames=1)
    player = played(tmp_path, clip)
    got = in_world(player.vertices(0), player)
    extent = float(posed(clip).vertices.abs().max())
    np.testing.assert_allclose(got, posed(clip).vertices[0].numpy(), rtol=0, atol=2e-6 * extent)


def test_what_gltf_cannot_hold_is_told(tmp_path: Path) -> None:
    clip = moving(bodies()["static"])
    loose = replace(clip.body, weights=clip.body.weights * 1.0005)
    with pytest.raises(ValueError, match=r"write_gltf: `body.weights` must be of rows that sum to 1"):
        export(tmp_path, replace(clip, body=loose), formats=("gltf",))
    with pytest.raises(ValueError, match=r"write_gltf: `body.faces` must be at least one; got none"):
        export(tmp_path, replace(clip, body=replace(clip.body, faces=clip.body.faces[:0])), formats=("gltf",))
    far = clip.motion._replace(frames=torch.arange(12) * 10 + 10**9 * (torch.arange(12) > 0))
    with pytest.raises(ValueError, match="float32 seconds"):
        export(tmp_path, replace(clip, motion=far), formats=("gltf",))
    assert not list(tmp_path.iterdir())
