"""Colours that fill space: large areas, spots, stripes and grain, none of them with a symmetry."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from refkp.data.noise import value_noise

Array = NDArray[np.float64]

_NUM_COLOURS = 6


def solid_texture(generator: np.random.Generator) -> Callable[[Array], NDArray[np.uint8]]:
    """A function from points [...,3] in millimetres to colours uint8 [...,3].

    Areas of about 40 mm, two sets of stripes of 6 to 14 mm that fill some of them, sixty spots of 3 to 14 mm
    radius, half of them rings, and grain of 4 mm: structure for every distance at which a hand-sized object is seen.
    """
    colours = _palette(generator)
    place = generator.uniform(-500, 500, (3, 3))
    stripes = generator.normal(size=(2, 3))
    stripes *= 2 * np.pi / generator.uniform(6, 14, (2, 1)) / np.linalg.norm(stripes, axis=1, keepdims=True)
    centres = generator.uniform(-80, 80, (60, 3))
    radii, rings = generator.uniform(3, 14, 60), generator.random(60) < 0.5
    inks = generator.integers(_NUM_COLOURS, size=60)

    def colour(points: Array) -> NDArray[np.uint8]:
        flat = points.reshape(-1, 3)
        areas = _field(flat, 40, place[0])
        ink = np.digitize(areas, (0.4, 0.5, 0.6))
        for direction, low, number in ((stripes[0], 0.35, 4), (stripes[1], 0.55, 5)):
            striped = (areas > low) & (areas < low + 0.12) & (np.sin(flat @ direction) > 0.2)
            ink[striped] = number
        for centre, radius, ring, number in zip(centres, radii, rings, inks, strict=True):
            distance = np.linalg.norm(flat - centre, axis=1)
            ink[(distance < radius) & (~ring | (distance > 0.6 * radius))] = number
        shade = 0.75 + 0.5 * (_field(flat, 4, place[1]) - 0.5) + 0.6 * (_field(flat, 25, place[2]) - 0.5)
        return np.clip(colours[ink] * shade[:, None], 0, 255).astype(np.uint8).reshape(points.shape)

    return colour


def _palette(generator: np.random.Generator) -> Array:
    """Hues all around the circle in random order, light and dark in turn."""
    hues = (generator.permutation(_NUM_COLOURS) + generator.random()) / _NUM_COLOURS
    values = generator.permutation(np.linspace(0.35, 1.0, _NUM_COLOURS))
    saturations = generator.uniform(0.25, 0.9, _NUM_COLOURS)
    rows = [colorsys.hsv_to_rgb(*row) for row in zip(hues % 1, saturations, values, strict=True)]
    return 255 * np.array(rows)


def _field(points: Array, size: float, place: Array) -> Array:
    """Smooth noise in [0,1] with features of about `size` millimetres."""
    return value_noise(((points + place) / size).astype(np.float32)).astype(np.float64)
