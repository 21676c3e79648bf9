"""Flow colours: the four directions, one scale for a comparison, and the wheel that explains them."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from refkp.viz.flow import flow_figure, flow_scale, flow_to_color, flow_wheel

DIRECTIONS = {"right": (1.0, 0.0), "left": (-1.0, 0.0), "down": (0.0, 1.0), "up": (0.0, -1.0)}


def test_convention_directions_have_their_hues() -> None:
    """Right is cyan, left red, down violet, up yellow-green."""
    hues = {name: colorsys.rgb_to_hsv(*flow_to_color(np.array(d), max_flow=1.0))[0]
            for name, d in DIRECTIONS.items()}  # fmt: skip
    assert hues["right"] == pytest.approx(0.5)
    assert min(hues["left"], 1 - hues["left"]) == pytest.approx(0.0, abs=1e-9)
    assert hues["down"] == pytest.approx(0.75)
    assert hues["up"] == pytest.approx(0.25)


def test_agreement_with_the_standard_conversion() -> None:
    generator = np.random.default_rng(0)
    flow = generator.normal(size=(50, 2))
    for vector, colour in zip(flow, flow_to_color(flow, max_flow=2.0), strict=True):
        hue = (np.arctan2(vector[1], vector[0]) + np.pi) / (2 * np.pi)
        saturation = min(1.0, float(np.hypot(*vector)) / (2.0 + 1e-6))
        np.testing.assert_allclose(colour, colorsys.hsv_to_rgb(hue, saturation, 1.0), atol=1e-9)


def test_the_default_scale_is_a_percentile() -> None:
    flow = np.stack((np.linspace(0, 1, 1001), np.zeros(1001)), -1)
    np.testing.assert_array_equal(flow_to_color(flow), flow_to_color(flow, max_flow=0.99))
    assert flow_scale(flow, 3 * flow) > flow_scale(flow)
    assert flow_scale() == 0.0


def test_unseen_is_grey_and_still_is_white() -> None:
    flow = np.zeros((2, 2, 2))
    colours = flow_to_color(flow, max_flow=0.0, confidence=np.array([[0.49, 0.5], [0.0, 1.0]]))
    np.testing.assert_array_equal(colours[[0, 1], [0, 0]], np.full((2, 3), 0.5))
    np.testing.assert_array_equal(colours[[0, 1], [1, 1]], np.ones((2, 3)))


def test_the_wheel_shows_what_the_colours_mean() -> None:
    wheel = flow_wheel(101)
    for x, y in DIRECTIONS.values():
        got = wheel[50 + int(50 * y), 50 + int(50 * x)]
        np.testing.assert_allclose(got, flow_to_color(np.array([x, y]), max_flow=1.0), atol=1e-5)
    np.testing.assert_array_equal(wheel[0, 0], np.zeros(3))
    np.testing.assert_array_equal(wheel[50, 50], np.ones(3))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"`flow` must be \[...,2\]"):
        flow_to_color(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="`max_flow` must be finite"):
        flow_to_color(np.zeros((4, 2)), max_flow=-1.0)
    with pytest.raises(ValueError, match="`confidence` must be"):
        flow_to_color(np.zeros((4, 2)), confidence=np.zeros(3))


def test_a_comparison_has_one_scale() -> None:
    pytest.importorskip("matplotlib", reason="needs the extra `viz`")
    small, large = np.full((4, 4, 2), 0.1), np.full((4, 4, 2), 1.0)
    seen = np.ones((4, 4), dtype=bool)
    figure = flow_figure({"small": (small, seen), "large": (large, seen)}, "patches")
    first, second = (axis.get_images()[0].get_array() for axis in figure.axes[:2])
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(np.asarray(first), flow_to_color(small, max_flow=np.sqrt(2)), atol=1e-6)
    assert np.asarray(second).min() < 1e-5
