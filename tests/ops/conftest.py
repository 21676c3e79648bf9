"""Fixtures of the op tests."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.fixture
def unread_theta(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU tensors behave as CUDA tensors do, whose theta is not read."""
    for op in ("affine_warp", "equivariance_loss"):
        for part in ("library", "reference"):
            module = import_module(f"refkp.ops.{op}.{part}")
            monkeypatch.setattr(module, "check_theta_values", lambda *_: None)
