"""The largest distance is that of all pairs, also where every point ends a long one."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from refkp.data.diameter import largest_distance

Array = NDArray[np.float64]
SHAPES = ("cloud", "ball", "rough ball", "plate", "line", "point", "doubled", "far away", "rounded triangle")


def points(shape: str, count: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    cloud = rng.normal(size=(count, 3)) * (1, 2, 3)
    ball = cloud / np.linalg.norm(cloud, axis=1, keepdims=True)
    angle, side = rng.uniform(0, np.pi / 3, count), 2 * np.pi / 3 * rng.integers(3, size=count)
    arcs = np.stack((np.cos(side + angle), np.sin(side + angle)), -1)
    corners = np.stack((np.cos(side + np.pi / 6 + np.pi), np.sin(side + np.pi / 6 + np.pi)), -1) / 3**0.5
    return {
        "cloud": cloud,
        "ball": ball,
        "rough ball": ball * (1 + 0.02 * rng.normal(size=(count, 1))),
        "plate": cloud * (1, 1, 0),
        "line": np.outer(rng.random(count), (1.0, 2, 3)),
        "point": np.full((count, 3), 7.0),
        "doubled": cloud[np.arange(count) // 2],
        "far away": ball + np.array([1e4, -2e4, 3e4]),
        "rounded triangle": np.concatenate((arcs + corners, 0.1 * rng.random((count, 1))), 1),
    }[shape]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 16, 17, 33, 500, 1500])
def test_it_is_that_of_all_pairs(shape: str, count: int) -> None:
    cloud = points(shape, count)
    wanted: NDArray[np.float64] = np.linalg.norm(cloud[:, None] - cloud, axis=-1)
    assert largest_distance(cloud) == pytest.approx(wanted.max(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("shape", ["ball", "rough ball", "rounded triangle"])
def test_many_points_take_seconds(shape: str) -> None:
    cloud = points(shape, 200_000)
    start = time.perf_counter()
    found = largest_distance(cloud)
    assert time.perf_counter() - start < 20
    assert found >= max(np.linalg.norm(cloud - point, axis=1).max() for point in cloud[:50])
