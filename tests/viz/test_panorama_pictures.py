"""The seam cut of outlines; the pictures themselves are drawn by the command's test."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs the extra `viz`")

from refkp.geometry import sphere
from refkp.viz.panorama import split_at_seam


def test_a_line_across_the_seam_reaches_both_borders() -> None:
    line = np.array([[97.0, 1.0], [99.0, 2.0], [1.0, 3.0], [3.0, 4.0]])
    left, right = split_at_seam(line, 100)
    np.testing.assert_allclose(left, [[97, 1], [99, 2], [101, 3]])
    np.testing.assert_allclose(right, [[-1, 2], [1, 3], [3, 4]])


@pytest.mark.parametrize("yaw", [0.0, 180.0, 150.0])
def test_outline_parts_have_no_jump(yaw: float) -> None:
    outline = sphere.tile_outline(sphere.view_rotation(yaw, 20.0), sphere.half_tangents(90.0, 90.0))
    parts = split_at_seam(sphere.erp_from_direction(outline, 50, 100).numpy(), 100)
    assert max(float(np.abs(np.diff(part[:, 0])).max()) for part in parts) < 50
    assert len(parts) == (1 if yaw == 0.0 else 3)
