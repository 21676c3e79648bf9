"""Blending, outlines, and the choice and colours of matched places."""

from __future__ import annotations

import numpy as np
import pytest

from refkp.viz.overlay import blend, outline, paint
from refkp.viz.patches import place_colours, spread_choice


def test_blend_keeps_what_is_off_the_object() -> None:
    picture, rendering = np.full((4, 4, 3), 100, np.uint8), np.full((4, 4, 3), 200, np.uint8)
    mask = np.zeros((4, 4), dtype=bool)
    mask[1, 2] = True
    got = blend(picture, rendering, mask, alpha=0.75)
    assert got[1, 2].tolist() == [175] * 3
    assert (got[~mask] == 100).all()
    assert got.dtype == np.uint8


def test_an_outline_lies_around_the_object() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[3:6, 3:6] = True
    ring = outline(mask, 1)
    assert ring.sum() == 12
    assert not (ring & mask).any()
    assert outline(mask, 2).sum() == 28
    painted = paint(np.zeros((9, 9, 3), np.uint8), ring, (1, 2, 3))
    assert painted[ring].tolist() == [[1, 2, 3]] * 12
    assert not painted[~ring].any()


def test_bad_input() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match="`rendering` must be of the size"):
        blend(picture, picture[:2], np.zeros((4, 4), dtype=bool))
    with pytest.raises(ValueError, match=r"`alpha` must be in \[0,1\]"):
        blend(picture, picture, np.zeros((4, 4), dtype=bool), alpha=2)
    with pytest.raises(ValueError, match="`width` must be at least 1"):
        outline(np.zeros((4, 4), dtype=bool), 0)


def test_places_have_colours_of_their_own() -> None:
    side = np.linspace(0, 1, 5)
    places = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    colours = place_colours(places)
    assert colours.min() >= 0
    assert colours.max() <= 1
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 9 * np.eye(25)
    assert apart.min() > 0.05
    np.testing.assert_array_equal(place_colours(np.array([7.0, -3.0])), place_colours(np.array([1.0, 0.0])))


def test_chosen_places_are_good_and_apart() -> None:
    generator = np.random.default_rng(0)
    places, score = generator.uniform(0, 100, (200, 2)), generator.uniform(size=200)
    chosen = spread_choice(score, places, 6)
    assert chosen[0] == score.argmax()
    apart = np.linalg.norm(places[chosen][:, None] - places[chosen][None], axis=-1) + 1e3 * np.eye(
        len(chosen)
    )
    assert apart.min() > 0.7 * 100 / np.sqrt(6) * 0.9
    assert len(spread_choice(np.zeros(0), np.zeros((0, 2)), 3)) == 0
