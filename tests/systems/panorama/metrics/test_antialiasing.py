"""Ways to render tiles: PSNR against supersampling."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from refkp.ops import e2p
from refkp.systems.panorama.metrics.antialiasing import compare_renderings, psnr_db, supersampled
from refkp.systems.panorama.views.layout import ErpLayout

LAYOUT = ErpLayout.build(pitch_min_deg=-67.5, pitch_max_deg=67.5)


def noise(height: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (1, 3, height, 2 * height), dtype=torch.uint8, generator=generator)


def test_psnr_of_a_known_difference() -> None:
    black = torch.zeros(2, 3)
    assert psnr_db(black + 25.5, black) == pytest.approx(20.0)
    assert psnr_db(black, black) == math.inf


def test_supersampling_is_the_mean_of_64_rays() -> None:
    erp = noise(32)
    rays = e2p(erp, LAYOUT.rotations.float(), hfov_deg=90.0, size=(40, 40))
    torch.testing.assert_close(supersampled(erp, LAYOUT, 5), functional.avg_pool2d(rays, 8))


def test_our_antialiasing_is_nearer_than_the_earlier_path() -> None:
    earlier, _, none, mip, box = compare_renderings(noise(256), LAYOUT, 16, rounds=1)
    assert none.psnr_db == pytest.approx(earlier.psnr_db, abs=1.0)  # threefold rays of which one counts
    assert box.psnr_db > mip.psnr_db > earlier.psnr_db + 3
