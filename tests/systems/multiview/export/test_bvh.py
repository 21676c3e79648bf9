"""A .bvh played by its channels has the joints where the body has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.export import Clip, export
from tests.systems.multiview.export.bvh_player import PlayedBvh, play_bvh
from tests.systems.multiview.export.clips import bodies, centres, draw, moving, posed, size_of


def played(folder: Path, clip: Clip) -> PlayedBvh:
    (path,) = export(folder, clip, formats=("bvh",))
    return play_bvh(path)


def in_world(bvh: PlayedBvh, clip: Clip) -> np.ndarray:
    """[F,J,3] in the axes of the world and the order of the body."""
    order = [bvh.names.index("_".join(name.split())) for name in clip.body.joint_names]
    return bvh.joints[:, order] @ clip.y_up


@pytest.mark.parametrize("name", bodies())
def test_joints_stand_where_the_body_turns(name: str, tmp_path: Path) -> None:
    clip = moving(bodies()[name])
    want = centres(clip).numpy()
    bvh = played(tmp_path, clip)
    np.testing.assert_allclose(in_world(bvh, clip), want, rtol=0, atol=1e-6 * size_of(clip))
    assert bvh.num_ends == len(set(range(clip.body.num_joints)) - set(clip.body.parents))
    if name in ("insect", "mouse", "quadruped", "static"):
        np.testing.assert_allclose(want, posed(clip).joints.numpy(), rtol=0, atol=1e-9 * size_of(clip))


def test_joints_in_the_place_of_their_parents(tmp_path: Path) -> None:
    clip = moving(bodies()["static"])
    clip = replace(clip, motion=clip.motion._replace(offsets=torch.zeros(7, 3)))
    played(tmp_path, clip)
    lines = [line.strip() for line in (tmp_path / "motion.bvh").read_text().splitlines()]
    for joint in (3, 6):
        assert lines[lines.index(f"JOINT joint_{joint}") + 2] == "OFFSET 0 0 0"
    np.testing.assert_allclose(
        in_world(played(tmp_path, clip), clip), posed(clip).joints.numpy(), rtol=0, atol=1e-6 * size_of(clip)
    )


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_y_points_up(up: str, tmp_path: Path) -> None:
    clip = moving(bodies()["mouse"], num_frames=3, up=up)
    bvh = played(tmp_path, clip)
    axis = "xyz".index(up[-1])
    height = posed(clip).joints[..., axis].numpy() * (-1 if up.startswith("-") else 1)
    order = [bvh.names.index(name) for name in clip.body.joint_names]
    np.testing.assert_allclose(bvh.joints[:, order, 1], height, rtol=0, atol=1e-6 * size_of(clip))


def test_angles_go_on_without_jumps_also_through_the_pole(tmp_path: Path) -> None:
    """The root turns three times round z, another joint over the pole of the angles, and one stays at the pole."""
    clip = moving(bodies()["static"], num_frames=91, up="y")
    time = torch.linspace(0, 1, 91, dtype=torch.float64)[:, None]
    turns = torch.zeros(91, 7, 3).double()
    turns[:, 0] = time * torch.tensor([0.0, 0.0, 6 * np.pi])
    turns[:, 1] = time * torch.tensor([np.pi * 1.5, 0.0, 0.0])
    turns[:, 2] = torch.tensor([np.pi / 2, 0.0, 0.0])
    rotations = axis_angle_to_matrix(turns)
    rotations[:, 2] = rotations[:, 2] @ axis_angle_to_matrix(time * torch.tensor([0.0, 1.0, 0.0]))
    rotations[:, 3] = axis_angle_to_matrix(0.3 * draw(1, 3)) @ rotations[:, 2]
    clip = replace(clip, motion=clip.motion._replace(rotations=rotations))
    bvh = played(tmp_path, clip)
    want = centres(clip).numpy()
    np.testing.assert_allclose(in_world(bvh, clip), want, rtol=0, atol=1e-6 * size_of(clip))
    first_two = [3 + 3 * bvh.names.index(f"joint_{joint}") + axis for joint in (0, 1) for axis in range(3)]
    assert np.abs(np.diff(bvh.channels[:, first_two], axis=0)).max() < 13


def test_time_between_frames(tmp_path: Path) -> None:
    clip = moving(bodies()["static"], num_frames=4, fps=25.0)
    assert played(tmp_path, clip).frame_time == pytest.approx(0.04, rel=1e-8)
    every_third = replace(clip, motion=clip.motion._replace(frames=3 * torch.arange(4)))
    assert played(tmp_path, every_third).frame_time == pytest.approx(0.12, rel=1e-8)
    assert played(tmp_path, moving(bodies()["static"], num_frames=1, fps=25.0)).frame_time == 0.04
    gap = replace(clip, motion=clip.motion._replace(frames=torch.tensor([0, 1, 5, 6])))
    with pytest.raises(
        ValueError, match=r"write_bvh: `clip` must be of frames at equal steps; got steps of \[1, 4\]"
    ):
        export(tmp_path, gap, formats=("bvh",))


def test_names_are_one_word_each(tmp_path: Path) -> None:
    clip = moving(bodies()["static"])
    names = ("joint 0", "joint_0", *clip.body.joint_names[2:])
    with pytest.raises(ValueError, match=r"write_bvh: `body.joint_names` must be different words"):
        export(tmp_path, replace(clip, body=replace(clip.body, joint_names=names)), formats=("bvh",))
