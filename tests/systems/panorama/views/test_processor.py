"""The image processor: every form of input, one result; statistics, augmentation, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra `panorama`")

from PIL import Image

from refkp.nn.pixels import IMAGENET, PixelStatistics, normalise
from refkp.systems.panorama.views.augmentation import draw_rig_rotations
from refkp.systems.panorama.views.images import read_panorama, stack_panoramas
from refkp.systems.panorama.views.processor import PanoramaImageProcessor
from refkp.systems.panorama.views.spec import CropSpec, LayoutSpec

PROCESSOR = PanoramaImageProcessor(size=16)


@pytest.fixture
def picture(panorama_folder: Path) -> Path:
    return panorama_folder / "pano_0.png"


def test_every_form_of_a_panorama_gives_the_same_views(picture: Path) -> None:
    pillow = Image.open(picture)
    array = np.array(pillow)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    want = PROCESSOR(picture)
    assert tuple(want.pixels.shape) == (1, 9, 3, 16, 16)
    assert want.statistics is None
    for form in (str(picture), pillow, array, tensor, tensor[None], [array]):
        got = PROCESSOR(form)
        torch.testing.assert_close(got.pixels, want.pixels)
        assert got.layout == want.layout
    torch.testing.assert_close(PROCESSOR(array / 255).pixels, want.pixels, atol=1.2 / 255, rtol=0)


def test_a_list_keeps_every_panorama(panorama_folder: Path) -> None:
    paths = sorted(panorama_folder.iterdir())
    views = PROCESSOR(paths)
    assert views.pixels.shape[0] == 4
    torch.testing.assert_close(views.pixels[2:3], PROCESSOR(paths[2]).pixels)


def test_bytes_stay_interleaved(panorama_folder: Path) -> None:
    images = [read_panorama(path) for path in sorted(panorama_folder.iterdir())]
    batch = stack_panoramas(images)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(got, want) for got, want in zip(batch, images, strict=True))
    mixed = stack_panoramas([images[0], images[0].float() / 255])
    torch.testing.assert_close(mixed[0], mixed[1])


@pytest.mark.parametrize("strategy", ["e2p", "sliding_window", "cubemap", "resize", "anyres", "anyres_max"])
def test_strategies(strategy: Any, picture: Path) -> None:
    views = PanoramaImageProcessor(CropSpec(strategy), size=16)(picture)
    assert views.pixels.shape[1] == views.layout.num_views
    assert float(views.pixels.min()) >= 0
    assert float(views.pixels.max()) <= 1


def test_statistics_are_applied_and_recorded(picture: Path) -> None:
    plain = PROCESSOR(picture).pixels
    own = PixelStatistics((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    for given, statistics in (("imagenet", IMAGENET), (own, own)):
        views = PanoramaImageProcessor(size=16, statistics=given)(picture)
        assert views.statistics == statistics
        torch.testing.assert_close(views.pixels, normalise(plain, statistics))
    with pytest.raises(ValueError, match="imagenet, clip, siglip"):
        PanoramaImageProcessor(statistics="unknown")


def test_augmentation_is_drawn_per_panorama_and_returned(picture: Path) -> None:
    turning = PanoramaImageProcessor(size=16, augmentation="full")
    first, second = (turning([picture] * 2, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    torch.testing.assert_close(first.pixels, second.pixels)
    assert first.world_from_rig is not None
    assert not torch.equal(first.pixels[0], first.pixels[1])
    layout = PROCESSOR(picture).layout
    assert first.layout == layout  # correspondences stay
    upright = draw_rig_rotations("yaw", 5)
    torch.testing.assert_close(upright[:, :, 1], torch.tensor([0.0, 1.0, 0.0]).expand(5, 3))
    windows = PanoramaImageProcessor(CropSpec("sliding_window"), size=16, augmentation="yaw")
    assert windows(picture).world_from_rig is not None


@pytest.mark.parametrize("height", [16, 40])
def test_panoramas_of_several_sizes_need_a_height(height: int, picture: Path) -> None:
    other = np.zeros((20, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="Give `erp_height`"):
        PROCESSOR([picture, other])
    resized = PanoramaImageProcessor(size=16, erp_height=height)
    assert resized([picture, other]).pixels.shape[0] == 2
    from_file, from_array = (resized(form).pixels for form in (picture, np.array(Image.open(picture))))
    torch.testing.assert_close(from_file, from_array, atol=1.1 / 255, rtol=0)


def test_a_height_of_zero_is_refused(picture: Path) -> None:
    for form in (picture, np.array(Image.open(picture))):
        with pytest.raises(ValueError, match="`height` must be at least 1; got 0"):
            PanoramaImageProcessor(size=16, erp_height=0)(form)


@pytest.mark.parametrize(
    ("panorama", "message"),
    [
        (np.zeros((16, 16, 3), np.uint8), r"twice as wide as high; got \(16, 16\)"),
        (np.zeros((16, 32), np.uint8), r"\[H,W,3\]; got \[16,32\]"),
        (np.zeros((16, 32, 4), np.uint8), r"\[H,W,3\]; got \[16,32,4\]"),
        (torch.zeros(1, 16, 32), r"\[3,H,W\]; got \[1,16,32\]"),
        (torch.zeros(3, 16, 32, dtype=torch.int64), "bytes, or floats"),
        (255 * torch.ones(3, 16, 32), "Divide bytes by 255"),
        (torch.full((3, 16, 32), torch.nan), r"in \[0,1\]"),
        (torch.zeros(3, 0, 0), "twice as wide"),
        (Image.new("L", (20, 20)), r"twice as wide as high; got \(20, 20\)"),
        ([], "at least one panorama"),
        ("nowhere.png", "nowhere.png cannot be read: No such file"),
    ],
)
def test_errors(panorama: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PROCESSOR(panorama)


def test_more_errors(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="Repair or remove the file"):
        PROCESSOR(broken)
    with pytest.raises(TypeError, match="got float"):
        PROCESSOR(3.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size"):
        PanoramaImageProcessor(size=0)
    with pytest.raises(ValueError, match="room for one row"):
        PanoramaImageProcessor(LayoutSpec(hfov_deg=120.0))(torch.zeros(3, 16, 32))
    with pytest.raises(ValueError, match="about the vertical"):
        PanoramaImageProcessor(CropSpec("sliding_window"), size=8, augmentation="full")(
            torch.zeros(3, 16, 32)
        )
