"""affine_warp: laws that hold for every map."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.ops import affine_warp
from tests.ops.test_affine_warp import rotation


@given(angle=st.floats(-3, 3), scale=st.floats(0.3, 2.5), tx=st.floats(-0.5, 0.5), constant=st.floats(-5, 5))
def test_a_constant_image_in_its_own_fill_stays_constant(
    angle: float, scale: float, tx: float, constant: float
) -> None:
    image = torch.full((1, 1, 9, 12), constant, dtype=torch.float64)
    warped = affine_warp(image, rotation(angle, scale, tx)[None], fill=constant, size=(7, 13))
    torch.testing.assert_close(warped, torch.full_like(warped, constant))


@given(angle=st.floats(-3, 3), scale=st.floats(0.3, 2.5), tx=st.floats(-0.5, 0.5), inverse=st.booleans())
def test_backward_is_the_adjoint(angle: float, scale: float, tx: float, inverse: bool) -> None:
    image = torch.randn(1, 2, 9, 12, dtype=torch.float64, requires_grad=True)
    warped = affine_warp(image, rotation(angle, scale, tx)[None], size=(7, 13), inverse=inverse)
    probe = torch.randn_like(warped)
    (grad,) = torch.autograd.grad(warped, image, probe)
    torch.testing.assert_close((warped * probe).sum(), (image * grad).sum())


@given(angle=st.floats(-0.5, 0.5), scale=st.floats(0.8, 1.2))
def test_inverse_undoes_the_warp_inside(angle: float, scale: float) -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    image = torch.exp(-4 * (x.square() + y.square()))[None, None]
    theta = rotation(angle, scale)[None]
    back = affine_warp(affine_warp(image, theta), theta, inverse=True)
    assert (back - image)[..., 16:48, 16:48].abs().max() < 0.01
