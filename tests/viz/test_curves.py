"""Training curves: the raw values and their running mean."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs the extra `viz`")

from refkp.viz.curves import training_curves


def test_a_panel_a_curve_with_a_running_mean_over_a_tenth() -> None:
    steps = list(range(0, 100, 5))
    values = [float(value) for value in range(20)]
    figure = training_curves({"loss": (steps, values), "rank": (steps, values)}, "value")
    assert [axis.get_title() for axis in figure.axes] == ["loss", "rank"]
    raw, smooth = (np.asarray(line.get_xydata()) for line in figure.axes[0].get_lines())
    np.testing.assert_array_equal(raw, np.stack([steps, values], 1))
    np.testing.assert_allclose(smooth, np.stack([steps[1:], np.arange(19) + 0.5], 1))


def test_a_single_value_is_a_curve() -> None:
    figure = training_curves({"loss": ([3], [0.5])}, "value")
    for line in figure.axes[0].get_lines():
        np.testing.assert_array_equal(line.get_xydata(), [[3.0, 0.5]])
