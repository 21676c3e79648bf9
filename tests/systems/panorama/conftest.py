"""A small synthetic panorama, and a folder of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from refkp.geometry import sphere


def direction_image(height: int) -> Tensor:
    """A panorama [1,3,height,2 height] whose colour is the direction, from [-1,1] to [0,1]."""
    return ((sphere.erp_directions(height, 2 * height) + 1) / 2).permute(2, 0, 1)[None]


def write_panoramas(folder: Path) -> Path:
    """Four small panoramas of smooth noise in `folder`."""
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    for index in range(4):
        coarse = torch.from_numpy(generator.random((1, 3, 8, 16)))
        pixels = torch.nn.functional.interpolate(coarse, size=(32, 64), mode="bicubic").clamp(0, 1)[0]
        array = (255 * pixels.permute(1, 2, 0)).to(torch.uint8).numpy()
        image.fromarray(array).save(folder / f"pano_{index}.png")
    return folder


def write_captions(folder: Path) -> Path:
    """A caption file for the panoramas of `write_panoramas`; the first has two questions."""
    rows = ["pano_0.png,the sky,Blue.", "pano_0.png,the floor,Grey."]
    rows += [f"pano_{index}.png,the scene,Noise {index}." for index in range(1, 4)]
    table = folder / "captions.csv"
    table.write_text("\n".join(("url,query,annotation", *rows)) + "\n")
    return table


@pytest.fixture
def panorama_folder(tmp_path: Path) -> Path:
    """Four small panoramas of smooth noise."""
    return write_panoramas(tmp_path)


@pytest.fixture
def caption_file(panorama_folder: Path) -> Path:
    """A caption file of the four panoramas."""
    return write_captions(panorama_folder)
