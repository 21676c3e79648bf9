"""Affine maps: laws, the order of random draws, and the conventions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given, settings
from hypothesis import strategies as st

from refkp.geometry.affine import affine_theta, compose_affine, invert_affine, random_affine


@settings(max_examples=50, deadline=None)
@given(
    angle=st.floats(-180, 180),
    scale=st.floats(0.1, 4),
    translation=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
)
def test_inverse_composes_to_the_identity(
    angle: float, scale: float, translation: tuple[float, float]
) -> None:
    numbers = torch.tensor([angle, scale, *translation], dtype=torch.float64)
    theta = affine_theta(numbers[0], numbers[1], numbers[2:])
    identity = torch.eye(2, 3, dtype=torch.float64)
    for composed in (
        compose_affine(theta, invert_affine(theta)),
        compose_affine(invert_affine(theta), theta),
    ):
        torch.testing.assert_close(composed, identity, atol=1e-12, rtol=0)
    torch.testing.assert_close(theta[:, :2].det(), numbers[1] ** 2)


def test_composition_is_associative() -> None:
    a, b, c = torch.randn(3, 7, 2, 3, dtype=torch.float64)
    left, right = compose_affine(compose_affine(a, b), c), compose_affine(a, compose_affine(b, c))
    torch.testing.assert_close(left, right)


def test_gradcheck() -> None:
    theta = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(invert_affine, theta)
    assert torch.autograd.gradcheck(compose_affine, (theta, theta.detach().flip(0).requires_grad_()))
    arguments = [torch.rand(shape, dtype=torch.float64, requires_grad=True) for shape in ((3,), (3,), (3, 2))]
    assert torch.autograd.gradcheck(affine_theta, arguments)


def test_random_affine_draws_item_by_item_in_the_order_angle_scale_tx_ty() -> None:
    theta = random_affine(
        3,
        max_angle_deg=20,
        scale=(0.9, 1.1),
        max_translation=(0.1, 0.3),
        generator=torch.Generator().manual_seed(7),
    )
    generator = torch.Generator().manual_seed(7)
    for item in theta:
        low_high = ((-20.0, 20.0), (0.9, 1.1), (-0.1, 0.1), (-0.3, 0.3))
        angle, scale, tx, ty = (torch.empty(1).uniform_(*ends, generator=generator) for ends in low_high)
        torch.testing.assert_close(item, affine_theta(angle[0], scale[0], torch.cat((tx, ty))))


def test_random_affine_is_reproducible_and_in_range() -> None:
    torch.manual_seed(3)
    first = random_affine(200)
    torch.manual_seed(3)
    assert torch.equal(random_affine(200), first)
    assert torch.equal(random_affine(5, generator=torch.Generator().manual_seed(3)), first[:5])
    scale = first[:, :, :2].det().sqrt()
    assert 0.8 <= float(scale.min()) <= float(scale.max()) <= 1.0
    assert float(first[:, :, 2].abs().max()) <= 0.25
    angle = torch.atan2(first[:, 0, 1], first[:, 0, 0]).rad2deg()
    assert 10 < float(angle.abs().max()) <= 15
    assert random_affine(0).shape == (0, 2, 3)


def test_convention_theta_maps_output_to_input() -> None:
    image = torch.zeros(1, 1, 1, 4)
    image[..., 2] = 1
    theta = affine_theta(torch.zeros(1), torch.ones(1), torch.tensor([[0.5, 0.0]]))
    grid = F.affine_grid(theta, [1, 1, 1, 4], align_corners=False)
    warped = F.grid_sample(image, grid, align_corners=False)
    assert warped.flatten().tolist() == [0, 1, 0, 0]  # tx = 0.5 moves the content left by 0.5 * 4/2 = 1 pixel


def test_convention_positive_angle_turns_content_clockwise_on_the_screen() -> None:
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 0, 2] = 1  # top
    theta = affine_theta(torch.tensor([90.0]), torch.ones(1), torch.zeros(1, 2))
    grid = F.affine_grid(theta, [1, 1, 5, 5], align_corners=False)
    warped = F.grid_sample(image, grid, align_corners=False)
    assert warped[0, 0, 2, 4] > 0.99  # right


def test_convention_compose_warps_by_the_first_then_the_second() -> None:
    first = affine_theta(torch.tensor(30.0), torch.tensor(0.5), torch.tensor([0.1, 0.2]))
    second = affine_theta(torch.tensor(-10.0), torch.tensor(2.0), torch.tensor([0.3, 0.0]))
    point = torch.tensor([0.2, -0.7, 1.0])
    seen = first @ torch.cat((second @ point, torch.ones(1)))
    torch.testing.assert_close(compose_affine(first, second) @ point, seen)


def test_translation_is_not_scaled() -> None:
    theta = affine_theta(torch.tensor(0.0), torch.tensor(0.5), torch.tensor([0.1, -0.2]))
    torch.testing.assert_close(theta, torch.tensor([[0.5, 0.0, 0.1], [0.0, 0.5, -0.2]]))
    assert math.isclose(float(theta[0, 2]), 0.1, rel_tol=1e-6)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"affine_theta: `translation` must be \[...,2\]; got \[3\]"):
        affine_theta(torch.zeros(1), torch.ones(1), torch.zeros(3))
    with pytest.raises(ValueError, match=r"invert_affine: `theta` must be \[...,2,3\]; got \[3,3\]"):
        invert_affine(torch.eye(3))
    with pytest.raises(ValueError, match="invert_affine: `theta` must be invertible; got 1 singular maps"):
        invert_affine(torch.stack((torch.zeros(2, 3), torch.eye(2, 3))))
    with pytest.raises(ValueError, match="compose_affine: `second`"):
        compose_affine(torch.eye(2, 3), torch.eye(3))
    with pytest.raises(ValueError, match="random_affine: `scale`"):
        random_affine(1, scale=(0.0, 1.0))
    with pytest.raises(ValueError, match="random_affine: `max_angle_deg, max_translation` must be >= 0"):
        random_affine(1, max_angle_deg=-1.0)
