"""A photo with its camera and mark: every form that is read, and every mistake that is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra `pose`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from PIL import Image as image_files

from refkp.systems.pose.inference.photo import read_photo

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


def test_a_camera_that_contradicts_the_photo_is_an_error(folder: Path) -> None:
    camera = folder / "camera.json"
    camera.write_text(json.dumps({"K": K, "width": 128, "height": 96}))
    with pytest.raises(ValueError, match=r"camera of a picture of 64 x 48; got one of 128 x 96"):
        read_photo(folder / "photo.png", camera, box=(10, 20, 14, 23))


@pytest.mark.parametrize("kind", ["16 bits", "blue", "JPEG"])
def test_a_mask_of_any_kind_marks_the_same_pixels(folder: Path, kind: str) -> None:
    label = np.zeros((48, 64), np.uint16)
    label[11:37, 9:50] = 5
    pictures = {
        "16 bits": (label, "png"),
        "blue": (np.stack((0 * label, 0 * label, label), -1).astype(np.uint8), "png"),
        "JPEG": ((label * 51).astype(np.uint8), "jpg"),
    }
    pixels, suffix = pictures[kind]
    image_files.fromarray(pixels).save(folder / f"kind.{suffix}")
    photo = read_photo(folder / "photo.png", folder / "camera.json", mask=folder / f"kind.{suffix}")
    assert photo.box == (9, 11, 50, 37)
    assert int(photo.mask.sum()) == 26 * 41


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
    with pytest.raises(ValueError, match=r"nothing.png cannot be read: .*name another"):
        read_photo(folder / "nothing.png", folder / "camera.json", box=(0, 0, 4, 4))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_is_named_only_for_a_picture_that_was_turned(folder: Path, orientation: int) -> None:
    exif = image_files.Exif()
    exif[0x0112] = orientation
    width, height = (50, 90) if orientation < 5 else (90, 50)
    image_files.new("RGB", (width, height), (9, 9, 9)).save(folder / "photo.jpg", exif=exif)
    (folder / "camera.json").write_text(json.dumps({"K": K, "width": 90, "height": 50}))
    text = "its EXIF orientation says" if orientation >= 5 else "Width and height are swapped"
    with pytest.raises(ValueError, match=text):
        read_photo(folder / "photo.jpg", folder / "camera.json", box=(10, 20, 14, 23))
