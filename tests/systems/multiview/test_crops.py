"""Crops: whole boxes, exact maps, and what they do to points and intrinsics."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.cameras import project
from refkp.systems.multiview.crops import (
    crop_box,
    crop_intrinsics,
    crop_points,
    pixels_from_yx,
    yx_from_pixels,
)
from refkp.systems.multiview.joints import map_joints

SIZE_WH = (1280, 1023)
POINTS = torch.tensor(
    [[100.5, 1000.0], [410.0, 1021.0], [torch.nan, 3.0], [200.0, 990.0]], dtype=torch.float64
)


def test_no_crop_is_the_whole_picture() -> None:
    assert crop_box("whole", SIZE_WH) == (0, 0, *SIZE_WH)
    corner = torch.tensor([SIZE_WH], dtype=torch.float64)
    assert crop_points(crop_box("whole", SIZE_WH).affine(224), corner).tolist() == [[224, 224]]


@pytest.mark.parametrize(("size", "box"), [((1280, 1023), (128, 0, 1023, 1023)), ((3, 8), (0, 2, 3, 3))])
def test_centred_is_the_square_of_the_shorter_side(size: tuple[int, int], box: tuple[int, ...]) -> None:
    assert crop_box("centred", size) == box


@pytest.mark.parametrize("margin", [0.0, 0.05, 0.5])
def test_an_animal_at_the_border_keeps_a_square_box_with_its_margin(margin: float) -> None:
    box = crop_box("animal", SIZE_WH, POINTS, margin)
    assert box.width == box.height
    assert 0 <= box.width - (1 + margin) * 309.5 < 2
    assert box.y0 + box.height > SIZE_WH[1]  # it leaves the picture rather than being clamped
    found = crop_points(box.affine(200), POINTS[[0, 1, 3]])
    border = margin / 2 * 309.5 * 200 / box.width
    assert float(found.min()) >= border - 1e-9
    assert float(found.max()) <= 200 - border + 1e-9


def test_an_animal_of_one_point_is_shown_with_its_surroundings() -> None:
    assert crop_box("animal", SIZE_WH, POINTS[:1], 0.0).width in (16, 17)


@pytest.mark.parametrize("mode", ["whole", "centred", "animal"])
def test_new_intrinsics_show_points_where_the_crop_moved_them(mode: str) -> None:
    K = torch.tensor([[900.0, 3.0, 630.0], [0.0, 950.0, 500.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    world = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    R, t = torch.eye(3, dtype=torch.float64), torch.tensor([0.1, 0.2, 7.0], dtype=torch.float64)
    affine = crop_box(mode, SIZE_WH, POINTS).affine(224)
    moved = crop_points(affine, project(world, K, R, t).uv)
    torch.testing.assert_close(project(world, crop_intrinsics(affine, K), R, t).uv, moved, rtol=0, atol=1e-10)


def test_shares_are_y_then_x_of_height_and_width() -> None:
    size, points = torch.tensor([320, 200]), torch.tensor([[80.0, 150.0]])
    shares = yx_from_pixels(points, size)
    assert shares.tolist() == [[0.75, 0.25]]
    assert pixels_from_yx(shares, size).tolist() == points.tolist()


def test_joints_without_a_label_are_zero_and_invisible() -> None:
    points = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = map_joints(points, torch.tensor([0.5, 1.0]), torch.tensor([1, -1, 0]))
    assert found.points.tolist() == [[3, 4], [0, 0], [1, 2]]
    assert found.visibility.tolist() == [1, 0, 0.5]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("round", SIZE_WH), "mode"),
        (("whole", (0, 5)), "image_size"),
        (("animal", SIZE_WH), "points"),
        (("animal", SIZE_WH, POINTS[2:3]), "points"),
        (("animal", SIZE_WH, POINTS, -0.1), "margin"),
    ],
)
def test_errors_name_the_argument(arguments: tuple[object, ...], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        crop_box(*arguments)  # type: ignore[arg-type]
