"""Broken pictures, masks and depth maps: PNG, JPEG and TIFF, of 8 and 16 bits and floats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="needs the extra `pose`")
pytest.importorskip("cv2", reason="needs the extra `pose`")

import cv2
from PIL import Image

from refkp.data.images import (
    decode_cutout,
    decode_depth,
    decode_mask_picture,
    decode_rgb,
    picture_size,
    read_bytes,
    read_rgb,
)
from tests.fuzz.readers.judge import check_reader

RGBA = np.random.default_rng(0).integers(0, 256, (13, 17, 4), dtype=np.uint8)
WIDE = RGBA[..., :3].astype(np.uint16) * 250


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGBA[..., :3]).save(path, quality=90, exif=exif)


WRITERS: dict[str, Callable[[Path], object]] = {
    "rgb.png": lambda path: Image.fromarray(RGBA[..., :3]).save(path),
    "rgba.png": lambda path: Image.fromarray(RGBA).save(path),
    "palette.png": lambda path: Image.fromarray(RGBA[..., :3]).quantize(16).save(path),
    "wide.png": lambda path: cv2.imwrite(str(path), WIDE),
    "depth.png": lambda path: cv2.imwrite(str(path), WIDE[..., 0]),
    "turned.jpg": turned,
    "rgb.tif": lambda path: Image.fromarray(RGBA[..., :3]).save(path, compression="tiff_lzw"),
    "float.tif": lambda path: Image.fromarray(RGBA[..., 0].astype(np.float32) / 255).save(path),
    "rgb.webp": lambda path: Image.fromarray(RGBA[..., :3]).save(path, lossless=True),
    "rgb.bmp": lambda path: Image.fromarray(RGBA[..., :3]).save(path),
}


def read_every_way(path: Path) -> None:
    """Whatever the picture is; the first error counts, but for those of kinds that it never was."""
    where = str(path)
    read_rgb(path)
    data = read_bytes(path)
    picture_size(data, where)
    decode_rgb(data, where, rows=5)
    decode_mask_picture(data, where)


def read_depth(path: Path) -> None:
    decode_depth(read_bytes(path), 0.1, str(path))


def read_cutout(path: Path) -> None:
    decode_cutout(read_bytes(path), str(path))


READERS = {
    **dict.fromkeys(WRITERS, read_every_way),
    **{"depth.png": read_depth, "float.tif": read_depth, "rgba.png": read_cutout},
}


@pytest.mark.parametrize("name", WRITERS)
def test_broken_pictures(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    check_reader(f"picture {name}", tmp_path, lambda: READERS[name](path), (name,))
