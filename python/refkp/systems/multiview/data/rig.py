"""Cameras around an arena whose floor is z = 0."""

from __future__ import annotations

import numpy as np


def ring(num_views: int, distance: float, rng: np.random.Generator) -> np.ndarray:
    """Places [V,3] of cameras all around, 25 to 60 degrees above the floor, each a little otherwise."""
    places = []
    for index in range(num_views):
        azimuth = 2 * np.pi * (index + rng.uniform(-0.2, 0.2)) / num_views
        elevation = np.radians(rng.uniform(25, 60))
        level = np.array([np.cos(azimuth), np.sin(azimuth)]) * np.cos(elevation)
        places.append(distance * rng.uniform(0.9, 1.1) * np.array([*level, np.sin(elevation)]))
    return np.stack(places)


def looking_at(centre: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation from the world to a camera at `centre` that looks at `target`, its x axis level."""
    forward = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(forward, right), forward))
