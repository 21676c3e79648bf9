"""The pattern that fills space: determined by its generator, varied, and the same wherever it is asked for."""

from __future__ import annotations

import numpy as np

from refkp.data.solid_texture import solid_texture

PLANE = np.stack((*np.mgrid[-60:60:80j, -60:60:80j], np.zeros((80, 80))), -1)  # type: ignore[misc]


def test_a_point_has_one_colour_however_it_is_asked_for() -> None:
    colour = solid_texture(np.random.default_rng(0))
    picture = colour(PLANE)
    assert picture.shape == PLANE.shape
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(colour(PLANE[20:23, 7:9]), picture[20:23, 7:9])
    np.testing.assert_array_equal(solid_texture(np.random.default_rng(0))(PLANE), picture)


def test_seeds_differ_and_each_has_contrast() -> None:
    pictures = [solid_texture(np.random.default_rng(seed))(PLANE).astype(float) for seed in range(4)]
    for number, picture in enumerate(pictures):
        assert picture.std((0, 1)).max() > 30
        assert all(np.abs(picture - other).mean() > 25 for other in pictures[:number])


def test_there_is_structure_at_several_scales() -> None:
    """Means over squares of 3, 12 and 30 mm still differ."""
    picture = solid_texture(np.random.default_rng(1))(PLANE).astype(float)
    for side in (2, 8, 20):
        blocks = picture.reshape(80 // side, side, 80 // side, side, 3).mean((1, 3))
        assert blocks.std((0, 1)).max() > 12
