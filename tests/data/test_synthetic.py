"""Made-up panoramas: fixed by their seed, whole across the seam, sky above and ground below."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from refkp.data.synthetic import render_panorama, sun_azimuth_deg


def test_the_seed_fixes_every_byte_and_picks_the_scene() -> None:
    first, again, other = render_panorama(3, 32), render_panorama(3, 32), render_panorama(4, 32)
    assert (first.shape, first.dtype, first.is_contiguous()) == ((3, 32, 64), torch.uint8, True)
    assert torch.equal(first, again)
    assert (first != other).float().mean() > 0.5


def test_pixels_are_means_of_their_rays() -> None:
    coarse = render_panorama(0, 24, supersample=4).double() / 255
    rays = render_panorama(0, 96, supersample=1).double() / 255
    means = F.avg_pool2d(rays.pow(2.2), 4).pow(1 / 2.2)
    clipped = F.max_pool2d(rays, 4) == 1  # brighter than a byte can tell
    assert clipped.double().mean() < 0.1
    torch.testing.assert_close(coarse[~clipped], means[~clipped], rtol=0, atol=1.5 / 255)


def test_convention_the_seam_is_behind_and_whole() -> None:
    picture = render_panorama(1, 96).double()
    steps = (picture - picture.roll(1, -1)).abs().mean((0, 1))  # step 0 crosses the seam
    assert steps[0] < 3 * steps.median()


def test_convention_up_is_the_first_row() -> None:
    picture = render_panorama(2, 64).double()
    red, _, blue = picture
    assert (blue[:4] > red[:4]).double().mean() > 0.9  # the sky, but for a cloud or the sun
    assert (blue[-4:] < red[-4:]).all()  # paving is warm grey


@pytest.mark.parametrize(("height", "supersample", "name"), [(1, 2, "height"), (8, 0, "supersample")])
def test_errors(height: int, supersample: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"render_panorama: `{name}` must be at least"):
        render_panorama(0, height, supersample=supersample)


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5])  # in scene 1 a house hides the sun
def test_the_sun_is_where_it_is_said_to_be(seed: int) -> None:
    """The middle of the brightest pixels lies there, give or take a quarter of the sun's glare."""
    sky = render_panorama(seed, 64)[:, :32].sum(0).double()
    column = sky.eq(sky.max()).nonzero()[:, 1].double()
    angle = torch.deg2rad((column + 0.5) / 128 * 360 - 180)
    seen = torch.rad2deg(torch.polar(torch.ones(()).double(), angle).mean().angle())
    assert abs((seen - sun_azimuth_deg(seed) + 180) % 360 - 180) < 10
