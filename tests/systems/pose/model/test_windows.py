"""Windows of a token grid."""

from __future__ import annotations

import pytest
import torch

from refkp.systems.pose.model.windows import from_windows, require_windows, to_windows


def test_windows_hold_squares_of_the_grid() -> None:
    tokens = torch.arange(24).view(24, 1)  # 4 x 6
    windows = to_windows(tokens, (4, 6), 2)[..., 0]
    assert windows.shape == (6, 4)
    assert windows[0].tolist() == [0, 1, 6, 7]
    assert windows[2].tolist() == [4, 5, 10, 11]
    assert windows[3].tolist() == [12, 13, 18, 19]


def test_round_trip() -> None:
    tokens = torch.randn(2, 3, 54, 5)
    assert torch.equal(from_windows(to_windows(tokens, (9, 6), 3), (9, 6), 3), tokens)


def test_windows_must_fill_the_grid() -> None:
    with pytest.raises(
        ValueError, match=r"`window` must be a divisor of both sides of the grid \(16, 16\); got 7"
    ):
        require_windows("f", (16, 16), 7)
