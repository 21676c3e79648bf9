"""The noise: within [0,1], smooth, the same everywhere."""

from __future__ import annotations

import numpy as np

from refkp.data.noise import value_noise


def test_it_stays_in_its_range_and_uses_it() -> None:
    values = value_noise(np.random.default_rng(0).uniform(-50, 50, (4000, 3)).astype(np.float32))
    assert 0 <= values.min() < 0.15
    assert 0.85 < values.max() <= 1


def test_it_is_smooth() -> None:
    line = np.stack([np.linspace(-3, 3, 6001, dtype=np.float32)] * 3, -1) * np.array(
        [1, 0.3, -0.7], np.float32
    )
    assert np.abs(np.diff(value_noise(line))).max() < 0.02


def test_it_is_the_same_everywhere() -> None:
    points = np.array([[0.25, 1.5, -2.75], [10.1, 0.0, 3.3]], np.float32)
    np.testing.assert_allclose(value_noise(points), [0.3206555, 0.3139132], atol=1e-6)
