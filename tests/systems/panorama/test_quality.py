"""`refkp panorama quality`: PSNR against supersampling, and the table of all ways."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `panorama`")

from refkp.ops import e2p
from refkp.systems.panorama.commands.quality import compare, psnr_db, quality, supersampled
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
    earlier, _, none, mip, box = compare(noise(256), LAYOUT, 16, rounds=1)
    assert none.psnr_db == pytest.approx(earlier.psnr_db, abs=1.0)  # threefold rays of which one counts
    assert box.psnr_db > mip.psnr_db > earlier.psnr_db + 3


@pytest.mark.parametrize("option", ["height", "size", "rounds", "threads"])
def test_counts_of_zero_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"quality: `{option}` must be at least 1; got 0"):
        quality(["any.png", f"--{option}=0"])


def test_the_command_writes_its_table(panorama_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    picture = str(panorama_folder / "pano_0.png")
    assert quality([picture, "--size", "8", "--rounds", "1", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())
    assert [row["name"] for row in rows][-1] == 'e2p, antialias="box"'
    assert all(row["rounds"] == 1 and row["median_s"] > 0 for row in rows)
