"""Cameras of Anipose and COLMAP."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")

from refkp.systems.multiview.calibration import matching_name, write_calibration
from refkp.systems.multiview.data.generator import make_session
from refkp.systems.multiview.data.spec import SessionSpec
from refkp.systems.multiview.reading.cameras import read_calibration

TABLE = """[cam_0]
name = "top"
size = [ 640, 480,]
matrix = [ [ 600.0, 0.0, 319.5,], [ 0.0, 601.0, 239.5,], [ 0.0, 0.0, 1.0,],]
distortions = [ -0.2,]
rotation = [ 0.1, 0.2, 0.3,]
translation = [ 1.0, 2.0, 300.0,]

[metadata]
adjusted = false
"""


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    calibration = make_session(SessionSpec(num_frames=1, num_views=5), 3).calibration
    write_calibration(tmp_path / "calibration.toml", calibration)
    read = read_calibration(tmp_path / "calibration.toml")
    assert read.names == calibration.names
    assert torch.equal(read.sizes, calibration.sizes)
    for one, other in zip(read.rig, calibration.rig, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-9)


def test_pixel_centres_of_anipose_are_at_integers(tmp_path: Path) -> None:
    (tmp_path / "calibration.toml").write_text(TABLE)
    read = read_calibration(tmp_path / "calibration.toml")
    assert read.rig.K[0, :2, 2].tolist() == [320.0, 240.0]
    assert read.rig.distortion[0].tolist() == [-0.2, 0, 0, 0, 0]
    assert read.rig.K.dtype == torch.float64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not = [toml", "a TOML file of Anipose"),
        ("[metadata]\n", "with a table for each camera"),
        (TABLE.replace("matrix", "K"), "a table with `matrix`"),
        (
            TABLE.replace("[ 1.0, 2.0, 300.0,]", "[1.0, nan, 3.0]"),
            "cam_0.translation` must be 3 finite numbers",
        ),
        (TABLE.replace("[ 640, 480,]", '"640x480"'), "cam_0.size` must be numbers"),
        (TABLE.replace("[ 640, 480,]", "[0, 480]"), "cam_0.size` must be a width and a height"),
        (TABLE.replace("[ -0.2,]", "[nan]"), "cam_0.distortions` must be finite numbers"),
        (TABLE.replace("[ -0.2,]", '"none"'), "cam_0.distortions` must be numbers"),
        (TABLE.replace("[ -0.2,]", "[0.1, 0, 0, 0, 0, 0.3]"), "at most the five k1, k2, p1, p2, k3"),
        (TABLE.replace('name = "top"', 'name = "top"\nfisheye = true'), "fisheye` must be false"),
        (
            TABLE + TABLE.replace("cam_0", "cam_1").replace("[metadata]\nadjusted = false", ""),
            "different names",
        ),
    ],
)
def test_a_broken_calibration_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "calibration.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_calibration(tmp_path / "calibration.toml")


CAMERAS = """# Camera list
1 SIMPLE_RADIAL 640 480 600 320 240 -0.1
2 FULL_OPENCV 640 480 600 610 321 241 0.1 0.2 0.01 0.02 0.3 0 0 0
"""
IMAGES = """# Image list
1 1 0 0 0 1 2 3 1 left/0001.png
0.5 0.5 -1
2 0.70710678118654757 0 0.70710678118654757 0 0 0 5 2 right\\0001.png

"""


def test_cameras_of_colmap(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text(CAMERAS)
    (tmp_path / "images.txt").write_text(IMAGES)
    read = read_calibration(tmp_path)
    assert read.names == ("left", "right")
    assert read.rig.K[1].tolist() == [[600, 0, 321], [0, 610, 241], [0, 0, 1]]
    assert read.rig.distortion.tolist() == [[-0.1, 0, 0, 0, 0], [0.1, 0.2, 0.01, 0.02, 0.3]]
    turned = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(read.rig.R[1], turned)
    assert read.rig.t[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        ("0 0 0 0 1 2 3", "of rotations; got QW to QZ of 0 for left/0001.png"),
        ("1 0 0 0 1 nan 3", "of finite numbers"),
    ],
)
def test_poses_of_colmap_that_are_none_are_refused(pose: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text(CAMERAS)
    (tmp_path / "images.txt").write_text(IMAGES.replace("1 0 0 0 1 2 3", pose))
    with pytest.raises(ValueError, match=message):
        read_calibration(tmp_path)


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        (CAMERAS.replace("SIMPLE_RADIAL", "OPENCV_FISHEYE"), "of camera models SIMPLE_PINHOLE"),
        (CAMERAS.replace(" -0.1", ""), "ID SIMPLE_RADIAL WIDTH HEIGHT f cx cy k1"),
        (CAMERAS.replace("0.3 0 0 0", "0.3 0.1 0 0"), "k4 = k5 = k6 = 0"),
        (CAMERAS.replace("600 320", "nan 320"), "of finite numbers"),
        (CAMERAS.replace("640 480 600 320", "0 480 600 320"), "of pictures with a width and a height"),
        (CAMERAS.replace("1 SIMPLE", "7 SIMPLE"), "of cameras in cameras.txt; got 1"),
    ],
)
def test_other_cameras_of_colmap_are_refused(cameras: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text(cameras)
    (tmp_path / "images.txt").write_text(IMAGES)
    with pytest.raises(ValueError, match=message):
        read_calibration(tmp_path)


@pytest.mark.parametrize(
    ("view", "cameras", "index"),
    [
        ("top", ("side", "top"), 1),
        ("Top", ("side", "top"), 1),
        ("Camera3", ("cam1", "cam3"), 1),
        ("cam03", ("cam1", "cam3"), 1),
        ("cam3", ("a3", "b3"), None),
        ("back", ("side", "top"), None),
        ("s1", ("s10", "s2"), None),
    ],
)
def test_a_view_finds_its_camera(view: str, cameras: tuple[str, ...], index: int | None) -> None:
    assert matching_name(view, cameras) == index


def test_one_half_of_a_text_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 64 48 50 50 32 24\n")
    with pytest.raises(
        ValueError, match=r"images\.txt` must be there, beside cameras\.txt; got no such file"
    ):
        read_calibration(tmp_path)
