"""A photo with its camera and mark: every form that is read, and every mistake that is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra `pose`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from PIL import Image as image_files

from refkp.systems.pose.inference.photo import read_intrinsics, read_photo

K = [[500.0, 0.0, 32.0], [0.0, 510.0, 24.0], [0.0, 0.0, 1.0]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture of 64 x 48, a camera, an empty mask and one of 4 x 3 pixels."""
    image_files.new("RGB", (64, 48), (10, 20, 30)).save(tmp_path / "photo.png")
    image_files.new("L", (64, 48)).save(tmp_path / "empty.png")
    image_files.new("L", (32, 48), 255).save(tmp_path / "narrow.png")
    mask = image_files.new("L", (64, 48))
    mask.paste(255, (10, 20, 14, 23))
    mask.save(tmp_path / "mask.png")
    (tmp_path / "camera.json").write_text(json.dumps({"K": K}))
    return tmp_path


def write(folder: Path, content: Any) -> Path:
    path = folder / "other.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "content",
    [
        {"K": K},
        {"cam_K": [500.0, 0, 32, 0, 510, 24, 0, 0, 1], "depth_scale": 0.1},
        {"fx": 500, "fy": 510, "cx": 32, "cy": 24, "depth_scale": 0.1, "width": 64, "height": 48},
    ],
)
def test_three_forms_of_intrinsics(folder: Path, content: dict[str, Any]) -> None:
    assert read_intrinsics(write(folder, content)).tolist() == K


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
def test_other_intrinsics_are_errors(folder: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_intrinsics(write(folder, content))


def test_a_mask_or_a_box_marks_the_object(folder: Path) -> None:
    masked = read_photo(folder / "photo.png", folder / "camera.json", mask=folder / "mask.png")
    boxed = read_photo(folder / "photo.png", folder / "camera.json", box=(10, 20, 14, 23))
    assert masked.box == boxed.box == (10, 20, 14, 23)
    assert torch.equal(masked.mask, boxed.mask)
    assert masked.rgb[:, 5, 5].tolist() == [10, 20, 30]
    assert masked.field_of_view_deg == pytest.approx((7.3238, 5.3884), abs=1e-3)


def test_marks_that_mark_nothing_are_errors(folder: Path) -> None:
    def read(**marks: Any) -> None:
        read_photo(folder / "photo.png", folder / "camera.json", **marks)

    with pytest.raises(ValueError, match="got neither"):
        read()
    with pytest.raises(ValueError, match="got both"):
        read(mask=folder / "mask.png", box=(0, 0, 4, 4))
    with pytest.raises(ValueError, match="`mask` must be not empty"):
        read(mask=folder / "empty.png")
    with pytest.raises(ValueError, match="size of the picture"):
        read(mask=folder / "narrow.png")
    for box in ((0, 0, 65, 48), (-1, 0, 4, 4), (4, 0, 4, 4), (70, 50, 80, 60), (0, 9, 4, 3)):
        with pytest.raises(ValueError, match="`box` must be"):
            read(box=box)


def test_a_picture_that_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"camera.json cannot be decoded"):
        read_photo(folder / "camera.json", folder / "camera.json", box=(0, 0, 4, 4))
    with pytest.raises(FileNotFoundError):
        read_photo(folder / "nothing.png", folder / "camera.json", box=(0, 0, 4, 4))
