"""Every value of a spread can be seen."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib", reason="needs the extra `viz`")

from refkp.viz.spread import spread_plot


def test_equal_values_do_not_hide_each_other_and_the_legend_hides_none() -> None:
    figure = spread_plot({"a": [0.5, 0.5, 0.5], "b": [0.9], "c": [0.1, 0.2]}, "accuracy", {"chance": 0.05})
    [axis] = figure.axes
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [3, 1, 2]
    places = [point for line in dots for point in zip(line.get_xdata(), line.get_ydata(), strict=True)]
    assert len(set(places)) == 6
    for row, line in enumerate(dots):
        assert all(abs(height - row) <= 0.25 for height in line.get_ydata())  # within their bar
    figure.canvas.draw()
    [legend] = figure.legends
    assert not legend.get_window_extent().overlaps(axis.get_window_extent())
