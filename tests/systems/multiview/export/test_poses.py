"""Motions as arrays: what is read is what was written, of the same body alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from refkp.systems.multiview.body.files import read_body, write_body
from refkp.systems.multiview.body.motion import BodyMotion
from refkp.systems.multiview.export import Clip, export, read_motion
from tests.systems.multiview.export.clips import bodies, moving


@pytest.fixture
def clip() -> Clip:
    return moving(bodies()["regressed"], unit="cm", up="-y", fps=59.94)


def write(folder: Path, clip: Clip) -> None:
    export(folder, clip, formats=("poses",))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", bodies())
def test_it_comes_back(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    clip = moving(bodies()[name], unit="cm", up="-y", fps=59.94)
    frames, *values = clip.motion
    clip = replace(clip, motion=BodyMotion(frames, *(value.to(dtype) for value in values)))
    write(tmp_path, clip)
    back = read_motion(tmp_path, clip.body)
    torch.testing.assert_close(back.motion.rotations, clip.motion.rotations, rtol=0, atol=1e-6)
    for name in ("frames", "trans", "betas", "offsets", "size"):
        torch.testing.assert_close(getattr(back.motion, name), getattr(clip.motion, name), rtol=0, atol=0)
    assert (back.fps, back.unit, back.up, back.body_name) == (59.94, "cm", "-y", "made up")


def test_the_arrays_are_named_as_blender_add_ons_read_them(clip: Clip, tmp_path: Path) -> None:
    write(tmp_path, clip)
    arrays, meaning = np.load(tmp_path / "poses.npz"), json.loads((tmp_path / "poses.json").read_text())
    shapes = {name: arrays[name].shape for name in arrays}
    vectors = {"poses": (12, 7, 3), "trans": (12, 3), "betas": (4,), "betas_trans": (7, 3)}
    assert shapes == {**vectors, "mesh_scale": (12,), "frames": (12,), "fps": ()}
    assert arrays["poses"].dtype == np.float64
    assert np.linalg.norm(arrays["poses"], axis=-1).max() <= np.pi
    assert meaning["schema_version"] == 1
    assert (meaning["n_frames"], meaning["n_joints"], meaning["n_betas"]) == (12, 7, 4)
    assert meaning["joint_names"] == [f"joint {joint}" for joint in range(7)]
    assert meaning["parents"] == list(clip.body.parents)
    assert (meaning["fps"], meaning["unit"], meaning["world_axes"]["up"]) == (59.94, "cm", "-y")
    assert len(meaning["body"]["sha256"]) == 64


def test_a_body_of_a_file_is_the_same_body(tmp_path: Path) -> None:
    for name, body in bodies().items():
        clip = moving(body.to(dtype=torch.float32))
        write(tmp_path / name, clip)
        write_body(tmp_path / "body.npz", clip.body)
        assert read_motion(tmp_path / name, read_body(tmp_path / "body.npz")).body_name == "made up"
        assert read_motion(tmp_path / name, body.to(dtype=torch.float64)).fps == 30


def test_other_bodies_are_refused(clip: Clip, tmp_path: Path) -> None:
    write(tmp_path, clip)
    body = clip.body
    others = [
        bodies()["static"],
        replace(body, vertices=body.vertices * 1.001),
        replace(body, joint_names=("other", *body.joint_names[1:])),
        replace(body, parents=(-1, 0, 0, 1, 0, 4, 5)),
        replace(body, shapedirs=body.shapedirs[..., [1, 0, 2, 3]]),
        replace(body, trans_sign=(1.0, 1.0, 1.0)),
        replace(body, posedirs=torch.ones(40, 3, 54).double()),
    ]
    for other in others:
        with pytest.raises(
            ValueError, match=r"read_motion: `.*poses.json: body` must be that of the body given"
        ):
            read_motion(tmp_path, other)
    limits = torch.ones(7).double()
    assert len(read_motion(tmp_path, replace(body, limits=limits)).motion.frames) == 12


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("schema_version", 2, "schema_version` must be 1; got 2"),
        ("rotation_representation", "6d", "must be 'axis_angle'"),
        ("fps", -1, "`fps` must be above 0"),
        ("fps", "30", "a finite number"),
        ("unit", "inch", "one of m, cm, mm"),
        ("world_axes", {"up": "w"}, "one of x, y, z"),
        ("body", None, "a JSON object"),
    ],
)
def test_other_meanings_are_refused(
    key: str, value: object, message: str, clip: Clip, tmp_path: Path
) -> None:
    write(tmp_path, clip)
    path = tmp_path / "poses.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=message):
        read_motion(tmp_path, clip.body)


def test_files_of_two_motions_are_refused(clip: Clip, tmp_path: Path) -> None:
    write(tmp_path, clip)
    other = replace(clip, motion=clip.motion._replace(trans=clip.motion.trans + 1))
    write(tmp_path / "other", other)
    (tmp_path / "other/poses.npz").replace(tmp_path / "poses.npz")
    with pytest.raises(ValueError, match="The two files are of different motions"):
        read_motion(tmp_path, clip.body)
    (tmp_path / "poses.npz").unlink()
    with pytest.raises(FileNotFoundError):
        read_motion(tmp_path, clip.body)


def test_clips_that_cannot_be(clip: Clip) -> None:
    motion = clip.motion
    wrong = {
        "at least one, increasing": motion._replace(frames=motion.frames.flip(0)),
        r"motion.trans` must be \[F,3\]": motion._replace(trans=motion.trans[1:]),
        "motion.rotations` must be rotations": motion._replace(rotations=2 * motion.rotations),
        "at most 4 shapes": motion._replace(betas=torch.zeros(5)),
        "motion.size` must be one number above 0": motion._replace(size=torch.tensor(-1.0)),
        "motion.offsets` must be finite": motion._replace(offsets=motion.offsets / 0),
    }
    for message, made in wrong.items():
        with pytest.raises(ValueError, match=message):
            replace(clip, motion=made)
    with pytest.raises(ValueError, match="Clip: `fps` must be above 0"):
        replace(clip, fps=0.0)
    with pytest.raises(ValueError, match="Clip: `up` must be one of"):
        replace(clip, up="w")  # type: ignore[arg-type]
