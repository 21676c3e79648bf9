"""Cameras in files: every form that is read, and every way in which one contradicts its picture."""

from __future__ import annotations

import json
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
        ({"K": K, "width": 100, "height": 48}, "one of 100 x 48. Give the camera of this very picture"),
        ({"K": K, "width": 48, "height": 64}, "turned upright as its EXIF orientation says"),
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
        ({"fx": 500, "fy": 500, "cx": 24, "cy": 32}, "the middle of 48 x 64. The picture was turned"),
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
