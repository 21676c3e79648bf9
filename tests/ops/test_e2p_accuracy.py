"""e2p: how good its float32 positions and its sums of gradients in fixed point are."""

from __future__ import annotations

import math

import pytest
import torch

from refkp.ops import e2p
from refkp.ops._fixed_point import gradient_scale
from tests.ops.test_e2p import VIEWS, turn
from tests.support.op_checks import backend_names


@pytest.mark.parametrize("backend", backend_names("native", "triton"))
@pytest.mark.parametrize("axis", ["column", "row"])
def test_positions_in_float32_are_good_to_a_thousandth_of_a_pixel(axis: str, backend: str) -> None:
    """Of an ERP of 8192 x 4096, read off a triangle wave of slope 1, whose values float32 holds to 2e-6."""
    height, width = (6, 8192) if axis == "column" else (4096, 6)
    wave = (torch.arange(max(height, width)) % 64 - 32).abs().float()
    erp = (wave if axis == "column" else wave[:, None]).expand(1, 1, height, width)
    views = torch.stack([turn(yaw, pitch, 7) for yaw in (0, 77, 180) for pitch in (-31, 0, 22)])
    options = {"hfov_deg": 95.0, "size": (16, 17)}
    want = e2p(erp.double(), views, backend="reference", **options)
    error = (e2p(erp, views, backend=backend, **options) - want).abs()
    assert error.max() < 4e-4


@pytest.mark.parametrize("value", [1e-30, 1.0, 3e38])
def test_fixed_point_sums_leave_room_and_keep_precision(value: float) -> None:
    grad = torch.full((3, 2, 5, 7), value)
    scale = gradient_scale(grad).item()
    assert math.frexp(scale)[0] == 0.5  # a power of two
    assert 2.0**60 < 3 * 5 * 7 * value * scale < 2.0**62


@pytest.mark.parametrize("backend", backend_names("native", "triton"))
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_not_hidden(value: float, backend: str) -> None:
    erp = torch.rand(1, 1, 6, 12, requires_grad=True)
    out = e2p(erp, VIEWS[:1], hfov_deg=90.0, size=(2, 2), backend=backend)
    (grad,) = torch.autograd.grad(out, erp, torch.full_like(out, value))
    assert not torch.isfinite(grad).all()
