"""Tiles back to a panorama: round trips, directions, seam and poles, gradient, errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from refkp.geometry import sphere
from refkp.systems.panorama.views.crops import crop_layout
from refkp.systems.panorama.views.cubemap import cube_layout, render_cubemap
from refkp.systems.panorama.views.inverse import tiles_to_erp
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.rendering import render_views
from refkp.systems.panorama.views.spec import CropSpec
from tests.systems.panorama.conftest import direction_image

WHOLE = ErpLayout.build(
    mode="cover", pitch_min_deg=-90.0, pitch_max_deg=90.0, polar_caps=True, yaw_by_latitude=True
)


def smooth_erp(height: int) -> Tensor:
    """A panorama [1,3,H,2H] in [0,1] without seam: low frequencies of the direction."""
    x, y, z = sphere.erp_directions(height, 2 * height).unbind(-1)
    waves = (torch.sin(4 * x + 2 * y), torch.cos(5 * y - 3 * z), torch.sin(3 * z) * torch.cos(4 * x))
    return (0.5 + 0.4 * torch.stack(waves))[None].float()


def psnr(got: Tensor, want: Tensor) -> float:
    return float(-10 * (got - want).square().mean().log10())


def test_round_trip() -> None:
    erp = smooth_erp(96)
    tiles = render_views(erp, WHOLE, 64).pixels[:, WHOLE.first_tile :]
    back = tiles_to_erp(tiles, WHOLE, 96)
    assert psnr(back.pixels, erp) > 45
    assert float(back.weight.min()) > 0


@pytest.mark.realdata
@pytest.mark.skipif("REFKP_DATA" not in os.environ, reason="needs $REFKP_DATA")
def test_round_trip_of_a_photograph() -> None:
    pytest.importorskip("PIL", reason="needs the extra `panorama`")
    from refkp.systems.panorama.views.images import read_panorama

    erp = read_panorama(Path(os.environ["REFKP_DATA"]) / "panorama" / "pano_outdoor_512.png")[None]
    tiles = render_views(erp, WHOLE, 256).pixels[:, WHOLE.first_tile :]
    assert psnr(tiles_to_erp(tiles, WHOLE, 256).pixels, erp / 255) > 30


@pytest.mark.parametrize("convention", ["canonical", "py360convert"])
def test_round_trip_of_a_cubemap(convention: str) -> None:
    erp = smooth_erp(96)
    faces = render_cubemap(erp, 65, convention=convention)
    assert psnr(tiles_to_erp(faces, cube_layout(), 96, convention=convention).pixels, erp) > 45


def test_pixels_show_their_directions() -> None:
    """Also at the poles, at the seam, and for a rig that was turned."""
    turn = sphere.random_rotation(2, generator=torch.Generator().manual_seed(0))
    erp = direction_image(128).expand(2, -1, -1, -1)
    views = render_views(erp, WHOLE, 96, world_from_rig=turn)
    for height in (16, 17):
        back = tiles_to_erp(views.pixels[:, 1:], WHOLE, height, world_from_rig=turn).pixels
        shown = functional.normalize(2 * back.movedim(1, -1).double() - 1, dim=-1)
        gap = sphere.great_circle_distance(shown, sphere.erp_directions(height, 2 * height))
        assert float(torch.rad2deg(gap).max()) < 0.3


def test_blending_is_smooth() -> None:
    """Two tiles of different brightness meet without a step; a small feather has one."""
    ring = ErpLayout.from_angles([0.0, 45.0], [0.0, 0.0], hfov_deg=90.0)
    tiles = torch.stack((torch.zeros(3, 8, 8), torch.ones(3, 8, 8)))[None]
    steps = []
    for feather in (1.0, 0.05):
        row = tiles_to_erp(tiles, ring, 90, feather=feather).pixels[0, 0, 45]
        row = row[~row.isnan()]
        assert (float(row[0]), float(row[-1])) == (0.0, 1.0)
        steps.append(float(row.diff().abs().max()))
    assert steps[0] < 0.06 < 0.3 < steps[1]


def test_unseen_pixels_are_filled() -> None:
    layout = ErpLayout.from_angles([0.0], [0.0], hfov_deg=90.0)
    picture = tiles_to_erp(torch.ones(1, 1, 3, 4, 4), layout, 16)
    unseen = layout.multiplicity(16) == 0
    assert torch.equal(picture.pixels[0, 0].isnan(), unseen)
    assert torch.equal(picture.weight[0, 0] == 0, unseen)
    assert float(tiles_to_erp(torch.ones(1, 1, 3, 4, 4), layout, 16, fill=0.0).pixels.sum()) == 3 * int(
        (~unseen).sum()
    )


def test_every_direction_on_common_borders_is_seen() -> None:
    for height in (2, 4, 6, 8):  # pixel centres on the edges of the cube among them
        assert not bool(tiles_to_erp(torch.ones(1, 6, 1, 4, 4), cube_layout(), height).pixels.isnan().any())


def test_gradient() -> None:
    layout = ErpLayout.from_angles([0.0, 60.0], [0.0, 30.0], hfov_deg=90.0)
    tiles = torch.rand(1, 2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tiles_to_erp(x, layout, 6, fill=0.0).pixels, tiles)
    (gradient,) = torch.autograd.grad(tiles_to_erp(tiles, layout, 6).pixels.nan_to_num().sum(), tiles)
    assert bool(gradient.isfinite().all())


def test_errors() -> None:
    tiles = torch.zeros(1, 6, 3, 4, 4)
    with pytest.raises(ValueError, match=r"B,N,C,h,w"):
        tiles_to_erp(tiles[:, :5], cube_layout(), 8)
    with pytest.raises(ValueError, match="Divide bytes"):
        tiles_to_erp(tiles.to(torch.uint8), cube_layout(), 8)
    with pytest.raises(ValueError, match="feather"):
        tiles_to_erp(tiles, cube_layout(), 8, feather=0.0)
    with pytest.raises(ValueError, match="height"):
        tiles_to_erp(tiles, cube_layout(), 0)
    with pytest.raises(ValueError, match="convention"):
        tiles_to_erp(tiles, cube_layout(), 8, convention="equilib")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="world_from_rig"):
        tiles_to_erp(tiles, cube_layout(), 8, world_from_rig=torch.eye(3)[None].repeat(2, 1, 1))
    with pytest.raises(ValueError, match="perspective tiles"):
        tiles_to_erp(tiles, crop_layout(CropSpec("resize"), (8, 16), 4), 8)
