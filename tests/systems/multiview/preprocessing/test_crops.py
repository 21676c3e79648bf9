"""Crops are whole pixels, hold what they should, and move points and cameras exactly."""

from __future__ import annotations

import numpy as np
import pytest

from refkp.systems.multiview.preprocessing.crops import (
    LEAST_SIDE,
    Box,
    crop_box,
    moved,
    moved_intrinsics,
    normalised_yx,
)

K = np.array([[300.0, 0.4, 81.0], [0.0, 310.0, 62.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("picture", "box"), [((160, 120), (20, 0, 120, 120)), ((121, 160), (0, 19, 121, 121))]
)
def test_the_central_square_begins_at_a_whole_pixel(picture: tuple[int, int], box: tuple[int, ...]) -> None:
    assert crop_box("centred", picture, np.empty((0, 2)), 0.0) == box
    assert crop_box("whole", picture, np.empty((0, 2)), 0.0) == (0, 0, *picture)


def test_the_square_around_an_animal_holds_it_with_its_margin() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        xy = rng.uniform(-20, 180, (7, 2)) * rng.uniform(0.01, 1, (1, 2))
        margin = rng.uniform(0, 0.3)
        box = crop_box("animal", (160, 120), np.vstack((xy, [[np.nan, 3.0]])), margin)
        room = margin * np.ptp(xy, 0).max()
        low, high = np.array(box[:2]), np.array(box[:2]) + box[2]
        assert box.width == box.height >= LEAST_SIDE
        assert (low <= xy.min(0) - room).all()
        assert (high >= xy.max(0) + room).all()
        assert box.width <= max(LEAST_SIDE, np.ptp(xy, 0).max() + 2 * room + 2)


def test_a_square_at_the_border_is_not_clamped_and_not_stretched() -> None:
    """A clamped one of 100 x 273 was stretched to a square once, and a point at 90 of 100 rows drawn at 73.8 of 224."""
    xy = np.array([[10.0, 90.0], [270.0, 20.0]])
    box = crop_box("animal", (400, 100), xy, 0.05)
    affine = box.affine(224)
    assert box.y < 0
    assert box.y + box.height > 100
    assert affine[0, 0] == affine[1, 1]
    np.testing.assert_allclose(moved(affine, xy)[0], (xy[0] - [box.x, box.y]) * 224 / box.width)
    assert (moved(affine, xy) > 0).all()
    assert (moved(affine, xy) < 224).all()


@pytest.mark.parametrize("box", [Box(0, 0, 160, 120), Box(20, -13, 120, 120)])
def test_moved_cameras_see_moved_points(box: Box) -> None:
    affine = box.affine(224)
    points = np.random.default_rng(1).normal(np.array([0, 0, 6]), size=(9, 3))
    seen = points @ K.T
    again = points @ moved_intrinsics(affine, K).T
    np.testing.assert_allclose(
        again[:, :2] / again[:, 2:], moved(affine, seen[:, :2] / seen[:, 2:]), atol=1e-10
    )


def test_stored_points_are_y_and_x_in_sides_and_zero_where_missing() -> None:
    stored = normalised_yx(np.array([[112.0, 56.0], [np.nan, 5.0], [250.0, -3.0]]), 224)
    np.testing.assert_allclose(stored, [[0.25, 0.5], [0, 0], [-3 / 224, 250 / 224]], rtol=1e-6)
    assert stored.dtype == np.float32
