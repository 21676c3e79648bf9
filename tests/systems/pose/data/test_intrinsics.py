"""Cameras in files: every form that is read, and every way in which one contradicts its picture."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.systems.pose.data.intrinsics import checked_intrinsics, parse_intrinsics, read_intrinsics

K = [[500.0, 0.0, 31.0], [0.0, 510.0, 25.0], [0.0, 0.0, 1.0]]
SIZE = (48, 64)


@pytest.mark.parametrize(
    "content",
    [
        {"K": K},
        {"K": K, "resolution": [48, 64]},
        {"K": K, "resolution": [64, 48]},
        {"K": K, "dist": [0, 0.0, 0, 0], "model": "plumb_bob"},
        {"cam_K": [500.0, 0, 31, 0, 510, 25, 0, 0, 1], "depth_scale": 0.1},
        {"fx": 500, "fy": 510, "cx": 31, "cy": 25, "depth_scale": 0.1, "width": 64, "height": 48},
    ],
)
def test_the_forms_of_intrinsics(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "camera.json").write_text(json.dumps(content))
    assert read_intrinsics(tmp_path / "camera.json", SIZE).tolist() == K


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([1, 2], "of the form"),
        ({"focal": 500}, r"of the form .*got \['focal'\]"),
        ({"K": [1, 2, 3]}, "of the form"),
        ({"fx": 500, "fy": "wide", "cx": 1, "cy": 1}, "of the form"),
        ({"fx": -500, "fy": 500, "cx": 1, "cy": 1}, "fx, fy > 0"),
        ({"K": [[500, 0, 32], [0, 500, 24], [0, 0, 2]]}, "fx, fy > 0"),
        ({"K": [[500, 3, 32], [0, 500, 24], [0, 0, 1]]}, "without skew"),
        ({"K": [[500, 0, float("nan")], [0, 500, 24], [0, 0, 1]]}, "fx, fy > 0"),
    ],
)
def test_other_files_are_errors(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_intrinsics(path, SIZE)
    with pytest.raises(ValueError, match="which is not there"):
        read_intrinsics(tmp_path / "nothing.json", SIZE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"K": K, "width": 192, "height": 144}, r"one of 192 x 144.* fx 166\.667, fy 170, cx 10\.3333"),
        ({"K": K, "resolution": [480, 640]}, "one of 640 x 480.*give it with this size"),
        ({"K": K, "width": 100, "height": 48}, "one of 100 x 48 .*Give the camera of this very picture"),
        ({"K": K, "width": 48, "height": 64}, "Width and height are swapped"),
        ({"K": K, "dist": [0.1, 0, 0, 0]}, "without distortion; got dist. Undistort"),
        ({"K": K, "k1": -0.2, "p2": 0.0}, "without distortion; got k1"),
        ({"K": K, "distortion_coefficients": {"data": [0, 0, 1e-3]}}, "distortion_coefficients"),
        ({"cam_K": [500.0, 0, 0, 0, 510, 0, 31, 25, 1]}, r"row by row.*Transpose it: \[\[500.0, 0.0, 31.0\]"),
        ({"fx": 1.25, "fy": 1.6, "cx": 0.5, "cy": 0.5}, "in pixels it is fx 80, fy 76.8, cx 32, cy 24"),
        ({"fx": 3.5, "fy": 3.5, "cx": 31, "cy": 25}, "Millimetres become pixels"),
        ({"fx": 500, "fy": 500, "cx": 96, "cy": 73}, r"about 192 x 146, .*about fx 165.* say so with"),
        ({"fx": 500, "fy": 500, "cx": 16, "cy": 12}, "about 32 x 24, for this one it is about fx 1000"),
        ({"fx": 500, "fy": 500, "cx": 32, "cy": 900}, r"\(32, 900\), far outside"),
        ({"fx": 500, "fy": 500, "cx": 32, "cy": 900, "width": 64, "height": 48}, "far outside"),
        ({"fx": 500, "fy": 500, "cx": 24, "cy": 32}, "the middle of 48 x 64. Width and height are swapped"),
    ],
)
def test_contradictions_are_named_with_the_remedy(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_intrinsics(content, SIZE, "camera.json")


def test_a_crop_says_so() -> None:
    content = {"fx": 500, "fy": 500, "cx": 16, "cy": 12}
    assert parse_intrinsics({**content, "width": 64, "height": 48}, SIZE, "camera.json")[0, 2] == 16
    aside = checked_intrinsics(torch.tensor([[500.0, 0, -20], [0, 500, 30], [0, 0, 1]]), SIZE, "K")
    assert aside[0, 2] == -20


def test_what_float32_leaves_of_a_zero_is_a_zero() -> None:
    rounded = np.array(K) + np.array([[0, 3e-6, 0], [1e-7, 0, 0], [0, 0, 6e-8]])
    assert checked_intrinsics(torch.from_numpy(rounded), SIZE, "K").tolist() == K


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"image_width": 320, "image_height": 240}, r"of 320 x 240 \(`image_width, image_height`\).*fx 100"),
        ({"imageWidth": 64, "imageHeight": 50}, "64 x 50"),
        ({"image_size": [320, 240]}, r"of 320 x 240 \(`image_size`\)"),
        ({"image_size": "96x72"}, "image_size"),
        ({"img_shape": [72, 96, 3]}, "img_shape"),
        ({"wh": [48, 64]}, "`wh`.*Width and height are swapped"),
        ({"image_hw": [64, 48]}, "image_hw"),
        ({"w": 128, "h": 96}, "`w, h`"),
        ({"calibration_resolution": "128 x 96"}, "calibration_resolution"),
        ({"im_w": 65}, "im_w"),
        ({"K_skew": 0.3}, "K_skew"),
        ({"kappa1": 1e-3}, "kappa1"),
        ({"cols": 128}, r"128 x \?.*`cols`"),
        ({"Height": 47}, r"\? x 47 \(`Height`\)"),
        ({"resolution": {"width": 128, "height": 96}}, "resolution.width"),
        ({"width": 64, "height": 48, "image_size": [128, 96]}, "image_size"),
        ({"size": [1, 2, 3, 4]}, "`size`"),
        ({"width": "wide"}, "`width`: 'wide'"),
        ({"skew": -7}, "without skew; got `skew`: -7"),
        ({"camera": {"skewness": 2.5}}, "camera.skewness"),
        ({"s": 0.4}, "`s`: 0.4"),
        ({"radial": [0, -0.02]}, "radial"),
        ({"tangential_distortion": [0, 1e-4]}, "tangential_distortion"),
        ({"radial_distortion": {"k_1": 0.3}}, "radial_distortion"),
        ({"coeffs": [0, 0, 0, 0, 0.2]}, "coeffs"),
        ({"K3": 0.2}, "K3"),
        ({"undistorted": False}, "undistorted"),
        ({"is_fisheye": True}, "is_fisheye"),
        ({"model": "OPENCV_FISHEYE", "D": [0, 0, 0, 0]}, "a pinhole camera; got `model`: 'OPENCV_FISHEYE'"),
        ({"camera_model": "equirectangular"}, "camera_model"),
        ({"distortion_model": "Kannala-Brandt"}, "distortion_model"),
        ({"projection": "orthographic"}, "projection"),
        ({"model": "SIMPLE_RADIAL"}, "without its coefficients"),
        ({"params": [500, 510, 31, 25, 0.1]}, "params"),
        ({"fx": 480}, "`fx`: 480, and fx 500 in `K`"),
        ({"fl_y": 530}, "fl_y"),
        ({"focal_length": 495}, "focal_length"),
        ({"principal_point": [32.5, 25]}, "principal_point"),
        ({"cx": "middle"}, "`cx`: 'middle'"),
        ({"intrinsics": [500, 510, 30, 25]}, "intrinsics"),
        (
            {"camera_matrix": {"rows": 3, "cols": 3, "data": [450, 0, 31, 0, 510, 25, 0, 0, 1]}},
            "camera_matrix",
        ),
        ({"cam_K": [500, 0, 31, 0, 500, 25, 0, 0, 1]}, "`K` .* and `cam_K`"),
    ],
)
def test_a_contradiction_is_named_by_its_field(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        parse_intrinsics({"K": K, **fields}, SIZE, "camera.json")


@pytest.mark.parametrize(
    "fields",
    [
        {"image_width": 64, "image_height": 48.0, "w": 64, "rows": "48"},
        {"image_size": [64, 48], "shape": [48, 64, 3], "resolution": "64 x 48"},
        {
            "skew": 0,
            "k1": 0.0,
            "radial": [0, 0],
            "coeffs": [0.0] * 5,
            "is_fisheye": False,
            "undistorted": True,
        },
        {
            "model": "PINHOLE",
            "distortion": "none",
            "camera_model": "simple-pinhole",
            "params": [500, 510, 31, 25],
        },
        {"model": "OPENCV", "dist": [0, 0, 0, 0]},
        {"model": "distortion.none"},
        {"model": "distortion.inverse_brown_conrady", "coeffs": [0, 0, 0, 0, 0]},
        {"fx": 500.01, "fy": 510, "cx": 31, "ppy": 25, "cam_K": [500, 0, 31, 0, 510, 25, 0, 0, 1]},
        {"distortion_coefficients": {"rows": 1, "cols": 5, "data": [0, 0, 0, 0, 0]}},
        {
            "name": "left",
            "id": 3,
            "timestamp": 1.5,
            "depth_scale": 0.1,
            "comment": "K of today",
            "units": "mm",
        },
        {
            "cam_R_w2c": [1, 0, 0, 0, 1, 0, 0, 0, 1],
            "cam_t_w2c": [0, 0, 0],
            "elev": 3,
            "mode": 1,
            "width": None,
        },
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_agrees_and_what_is_known_to_be_harmless_is_silent(fields: dict[str, Any]) -> None:
    assert parse_intrinsics({"K": K, **fields}, SIZE, "camera.json").tolist() == K


def test_other_names_of_the_intrinsics_are_read() -> None:
    content = {"fl_x": 500, "fl_y": 510, "ppx": 31, "ppy": 25}
    assert parse_intrinsics(content, SIZE, "camera.json").tolist() == K
    assert parse_intrinsics({"model": "PINHOLE", "params": [500, 510, 31, 25]}, SIZE, "c").tolist() == K


def test_fields_that_are_not_known_are_named_in_one_warning() -> None:
    content = {
        "K": K,
        "fov": 40,
        "bin": [2, 2],
        "name": "left",
        "model": "Canon",
        "lens": {"serial": 1, "zoom": 3},
    }
    with pytest.warns(UserWarning, match="camera.json: not known of a camera") as told:
        parse_intrinsics(content, SIZE, "camera.json")
    assert len(told) == 1
    assert str(told[0].message).endswith("not used: `fov`, `bin`, `lens.zoom`, `model`.")


def test_the_pictures_of_a_folder_warn_once() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for picture in range(5):
            parse_intrinsics({"K": K, "binning": 2}, SIZE, f"scene: picture {picture}", source="scene")
    assert len(told) == 1


def test_a_resolution_in_either_order_does_not_hide_swapped_sides() -> None:
    swapped = {"fx": 500, "fy": 500, "cx": 24, "cy": 32}
    with pytest.raises(ValueError, match="Width and height are swapped"):
        parse_intrinsics({**swapped, "resolution": [48, 64]}, SIZE, "camera.json")
    assert parse_intrinsics({**swapped, "width": 64, "height": 48}, SIZE, "camera.json")[0, 2] == 24


@pytest.mark.parametrize("extra", [{}, {"width": 48, "height": 64}])
def test_exif_is_named_where_the_picture_was_turned(extra: dict[str, int]) -> None:
    content = {"fx": 500, "fy": 500, "cx": 24, "cy": 32, **extra}
    with pytest.raises(ValueError, match="The picture was turned upright as its EXIF orientation says"):
        parse_intrinsics(content, SIZE, "camera.json", is_turned=True)
