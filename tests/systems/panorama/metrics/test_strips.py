"""What the strips of a layout pair in truth."""

from __future__ import annotations

import pytest

from refkp.systems.panorama.metrics.strips import strip_hit_rate
from refkp.systems.panorama.views.layout import ErpLayout


def test_strips_of_the_default_layout_rarely_meet() -> None:
    """Spec panorama 3.4: 6.1 % within half a token."""
    assert strip_hit_rate(ErpLayout.build(), (14, 14), 0.5) == pytest.approx(0.061, abs=5e-4)


def test_strips_of_equal_tiles_shifted_by_their_width_meet_nowhere() -> None:
    ring = ErpLayout.from_angles([0.0, 120.0, 240.0], [0.0] * 3, hfov_deg=60.0)
    assert strip_hit_rate(ring, (4, 4), 0.5) == 0.0
