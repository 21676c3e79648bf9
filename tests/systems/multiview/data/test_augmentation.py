"""Changes of views: colours move nothing, and what moves a picture moves its points and K alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from refkp.geometry.cameras import project
from refkp.systems.multiview.data.augmentation import (
    PlacedViews,
    ViewAugmentation,
    augment_colours,
    draw_placement,
    place_views,
    zoom_affine,
)

SIZE = 48
NONE = ViewAugmentation(0, 0, 0, 0, 0, 0, zoom=0, jitter=0)
IMAGES = torch.randint(
    60, 180, (3, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changes(spec: ViewAugmentation, seed: int = 0) -> Tensor:
    return augment_colours(IMAGES, spec, generator(seed)).float() - IMAGES.float()


def test_nothing_asked_changes_nothing() -> None:
    assert torch.equal(augment_colours(IMAGES, NONE, generator()), IMAGES)
    affine = draw_placement(3, SIZE, NONE, generator())
    keypoints, visibility = torch.rand(3, 5, 2) * SIZE, torch.ones(3, 5)
    placed = place_views(PlacedViews(IMAGES, keypoints, visibility, None), affine)
    assert torch.equal(placed.images, IMAGES)
    assert torch.equal(placed.keypoints, keypoints)
    assert placed.K is None


def test_brightness_is_one_number_for_all_views() -> None:
    shifts = [changes(replace(NONE, brightness=0.2), seed) for seed in range(20)]
    for shift in shifts:
        assert float(shift.max() - shift.min()) <= 1  # of rounding
    means = torch.stack([shift.mean() for shift in shifts]) / 255
    assert means.abs().max() <= 0.2 + 1e-2
    assert means.min() < -0.05
    assert means.max() > 0.05


def test_contrast_keeps_the_mean_of_each_view_and_scales_the_rest_alike() -> None:
    images = IMAGES.float()
    images[1] -= 40
    got = augment_colours(images.to(torch.uint8), replace(NONE, contrast=0.2), generator(3)).float()
    before, after = images.flatten(1), got.flatten(1)
    torch.testing.assert_close(after.mean(1), before.mean(1), rtol=0, atol=0.1)
    factors = after.std(1) / before.std(1)
    torch.testing.assert_close(factors, factors[:1].expand(3), rtol=0, atol=2e-3)
    assert 0.01 < abs(float(factors[0]) - 1) < 0.2


def test_saturation_keeps_the_grey_picture() -> None:
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    change = changes(replace(NONE, saturation=0.15), 1)
    assert float((change * weights).sum(1).abs().max()) <= 0.51
    assert float(change.abs().max()) > 2


def test_noise_is_of_each_sensor() -> None:
    noise = changes(replace(NONE, noise=0.015))
    assert float(noise.std()) == pytest.approx(255 * 0.015, rel=0.05)
    a, b = noise[0].flatten(), noise[1].flatten()
    assert abs(float(torch.corrcoef(torch.stack((a, b)))[0, 1])) < 0.05


def test_blur_keeps_even_pictures_and_smooths_others_in_all_views() -> None:
    spec = replace(NONE, blur_probability=1.0)
    even = torch.full((2, 3, SIZE, SIZE), 90, dtype=torch.uint8)
    assert torch.equal(augment_colours(even, spec, generator()), even)
    blurred = augment_colours(IMAGES, spec, generator()).float()
    assert (blurred.std((1, 2, 3)) < 0.7 * IMAGES.float().std((1, 2, 3))).all()


def test_one_rectangle_is_erased_from_every_view() -> None:
    spec = replace(NONE, erase_probability=1.0)
    for seed in range(30):
        erased = changes(spec, seed) != 0
        inside = erased.any(1).any(0)  # the same place for all, but for pixels that were the mean already
        rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
        height, width = (int(side[-1] - side[0]) + 1 for side in (rows, columns))
        assert 0.015 < height * width / SIZE**2 < 0.115
        assert 0.25 < height / width < 4
        assert erased[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].float().mean() > 0.9


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probabilities_are_kept(probability: float) -> None:
    spec = replace(NONE, blur_probability=probability, erase_probability=probability)
    assert all(bool(changes(spec, seed).any()) == bool(probability) for seed in range(10))


def test_draws_follow_the_generator_alone() -> None:
    spec = ViewAugmentation(jitter=0.1)
    first = augment_colours(IMAGES, spec, generator(5))
    torch.manual_seed(99)
    assert torch.equal(first, augment_colours(IMAGES, spec, generator(5)))
    assert not torch.equal(first, augment_colours(IMAGES, spec, generator(6)))
    assert torch.equal(
        draw_placement(3, SIZE, spec, generator(5)), draw_placement(3, SIZE, spec, generator(5))
    )


def test_one_zoom_for_all_views_about_the_centre_and_a_shift_for_each() -> None:
    centre = torch.tensor([SIZE / 2, SIZE / 2, 1], dtype=torch.float64)
    affine = draw_placement(3, SIZE, ViewAugmentation(), generator())
    torch.testing.assert_close(affine @ centre, centre[:2].expand(3, 2))
    assert torch.equal(affine, affine[:1].expand_as(affine))
    assert 0.9 <= float(affine[0, 0, 0]) <= 1.1
    shifted = draw_placement(3, SIZE, ViewAugmentation(jitter=0.1), generator())
    shifts = shifted @ centre - centre[:2]
    assert 0 < float(shifts.abs().max()) <= 0.1 * SIZE
    assert len(shifts.unique(dim=0)) == 3


@pytest.mark.parametrize("zoom", [0.8, 1.0, 1.15])
def test_pictures_points_and_intrinsics_move_alike(zoom: float) -> None:
    affine = zoom_affine(zoom, torch.tensor([SIZE, SIZE])).repeat(2, 1, 1)
    affine[1, :, 2] += torch.tensor([3.0, -5.5])
    # The picture of a function that is linear in x and y shows it at the moved place, bilinear or not.
    ramp = torch.arange(SIZE) + 0.5
    image = torch.stack(
        (4 * ramp.expand(SIZE, SIZE), 4 * ramp[:, None].expand(SIZE, SIZE), 0 * ramp.expand(SIZE, SIZE))
    )
    images = image.to(torch.uint8).expand(2, 3, SIZE, SIZE)
    K = torch.tensor([[60.0, 0.0, 25.0], [0.0, 50.0, 20.0], [0.0, 0.0, 1.0]]).repeat(2, 1, 1)
    world = torch.rand(2, 9, 3, generator=generator()) - torch.tensor([0.5, 0.5, -2.0])
    R, t = torch.eye(3).repeat(2, 1, 1), torch.zeros(2, 3)
    keypoints = project(world, K, R, t).uv
    placed = place_views(PlacedViews(images, keypoints, torch.ones(2, 9), K), affine)
    assert placed.K is not None
    torch.testing.assert_close(project(world, placed.K, R, t).uv, placed.keypoints, rtol=0, atol=1e-4)
    for view in range(2):
        pixels = placed.images[view].float()
        for before, after in zip(keypoints[view], placed.keypoints[view], strict=True):
            x, y = (int(value) for value in after)
            if not (
                2 < x < SIZE - 2
                and 2 < y < SIZE - 2
                and 2 < float(before.min()) < float(before.max()) < SIZE - 2
            ):
                continue
            # In the moved picture the pixel at the moved keypoint has the colour of the keypoint's old place.
            offset = (torch.tensor([x + 0.5, y + 0.5]) - after) / zoom
            torch.testing.assert_close(pixels[:2, y, x], 4 * (before + offset), rtol=0, atol=2.6)


def test_the_border_is_a_mirror_whose_face_is_the_last_pixel() -> None:
    affine = zoom_affine(1.0, torch.tensor([SIZE, SIZE]))[None]
    affine[0, 0, 2] = 5.0  # five columns to the right
    views = PlacedViews(IMAGES[:1], torch.zeros(1, 1, 2), torch.ones(1, 1), None)
    moved = place_views(views, affine).images[0]
    assert torch.equal(moved[..., 5:], IMAGES[0, ..., :-5])
    assert torch.equal(moved[..., :5], IMAGES[0, ..., 1:6].flip(-1))


def test_points_that_leave_the_picture_become_invisible_and_no_others() -> None:
    keypoints = torch.tensor([[[1.0, 24.0], [24.0, 47.0], [24.0, 24.0], [torch.nan, 3.0]]])
    views = PlacedViews(IMAGES[:1], keypoints, torch.tensor([[1.0, 1.0, 0.25, 0.0]]), None)
    placed = place_views(views, zoom_affine(1.1, torch.tensor([SIZE, SIZE]))[None])
    assert placed.visibility.tolist() == [[0, 0, 0.25, 0]]
    assert float(placed.keypoints[0, 0, 0]) == pytest.approx(24 - 1.1 * 23)  # it stays where it is


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("brightness", -0.1),
        ("zoom", 1.0),
        ("blur_probability", 1.1),
        ("erase_area", (0.2, 0.1)),
        ("erase_aspect", 0.0),
    ],
)
def test_values_out_of_range_are_errors(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        replace(ViewAugmentation(), **{name: value})  # type: ignore[arg-type]
