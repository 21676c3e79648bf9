"""Lens distortion: forward and inverse undo each other before the fold, and say where the fold is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given, settings
from hypothesis import strategies as st

from refkp.geometry import distortion as lens
from refkp.geometry.cameras import project
from refkp.geometry.rotations import axis_angle_to_matrix

BARREL = torch.tensor([-0.3, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
K = torch.tensor([[1000.0, 3.0, 640.0], [0.0, 1100.0, 512.0], [0.0, 0.0, 1.0]], dtype=torch.float64)

coefficients = st.tuples(
    st.floats(-0.5, 0.5), st.floats(-0.3, 0.3), *[st.floats(-0.01, 0.01)] * 2, st.floats(-0.1, 0.1)
).map(lambda values: torch.tensor(values, dtype=torch.float64))
points = st.tuples(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2)).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


@settings(max_examples=200, deadline=None)
@given(points, coefficients)
def test_the_inverse_undoes_the_lens_wherever_the_lens_is_valid(point: Tensor, distortion: Tensor) -> None:
    moved = lens.distort(point, distortion)
    back = lens.undistort(moved.points, distortion)
    if not moved.valid:
        return
    assert bool(back.valid)
    a, b = point.unbind()
    slack = lens.lens_derivative(a, b, distortion.unbind()).determinant()
    if slack > 1e-3:  # at the fold itself two roots meet, and half of the digits are lost
        torch.testing.assert_close(back.points, point, atol=1e-10, rtol=0)


@settings(max_examples=200, deadline=None)
@given(points, coefficients)
def test_the_lens_undoes_the_inverse_and_what_has_none_is_told(point: Tensor, distortion: Tensor) -> None:
    back = lens.undistort(point, distortion)
    assert bool(back.valid) == bool(torch.isfinite(back.points).all())
    if back.valid:
        again = lens.distort(back.points, distortion)
        assert bool(again.valid)
        torch.testing.assert_close(again.points, point, atol=1e-10, rtol=0)


@settings(max_examples=200, deadline=None)
@given(coefficients)
def test_the_fold_is_the_smallest_root_of_the_derivative(distortion: Tensor) -> None:
    k1, k2, _, _, k3 = distortion.tolist()
    inverse = np.roots([1.0, 3 * k1, 5 * k2, 7 * k3])  # of u = 1/r^2, which stays a cubic for any lens
    real = inverse[(np.abs(inverse.imag) < 1e-7 * np.abs(inverse)) & (inverse.real > 0)].real
    want = real.max() ** -0.5 if len(real) else np.inf
    got = float(lens.fold_radius(distortion))
    assert got == pytest.approx(want, rel=1e-5) or min(got, want) > 100


def test_the_corners_of_a_strong_barrel_come_back_to_1e_10() -> None:
    half = torch.tensor([[0.64, 0.512], [-0.64, 0.512], [0.64, -0.512], [-0.64, -0.512]], dtype=torch.float64)
    moved = lens.distort(half, BARREL)
    assert bool(moved.valid.all())
    torch.testing.assert_close(lens.undistort(moved.points, BARREL).points, half, atol=1e-10, rtol=0)
    single = lens.undistort(moved.points.float(), BARREL.float()).points
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), half, atol=1e-6, rtol=0)


def test_points_that_the_lens_folds_over_are_flagged() -> None:
    radius = float(lens.fold_radius(BARREL))
    assert radius == pytest.approx(1 / 0.9**0.5)
    across = torch.tensor([[radius * 0.99, 0.0], [radius * 1.01, 0.0]], dtype=torch.float64)
    assert lens.distort(across, BARREL).valid.tolist() == [True, False]
    top = radius * (1 - 0.3 * radius**2)
    beyond = torch.tensor([[top * 0.999, 0.0], [top * 1.001, 0.0], [torch.nan, 0.0]], dtype=torch.float64)
    got = lens.undistort(beyond, BARREL)
    assert got.valid.tolist() == [True, False, False]
    assert bool(got.points[1:].isnan().all())


def test_gradients_of_both_directions() -> None:
    generator = torch.Generator().manual_seed(2)
    at = (torch.rand(5, 2, generator=generator, dtype=torch.float64) - 0.5).requires_grad_()
    by = torch.tensor([[-0.3, 0.1, 0.002, -0.003, 0.02]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, d: lens.distort(p, d).points, (at, by))
    assert torch.autograd.gradcheck(lambda p, d: lens.undistort(p, d).points, (at, by))
    matrix = K.clone().requires_grad_()
    pixels = torch.tensor([[100.0, 200.0], [900.0, 700.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda u, k, d: lens.undistort_pixels(u, k, d[0]).points, (pixels, matrix, by)
    )


def test_a_point_without_an_inverse_does_not_poison_the_gradient_of_others() -> None:
    at = torch.tensor([[0.9, 0.0], [0.3, 0.1]], dtype=torch.float64, requires_grad=True)
    lens.undistort(at, BARREL).points[1].sum().backward()
    assert at.grad is not None
    assert bool(torch.isfinite(at.grad).all())
    assert at.grad[0].tolist() == [0.0, 0.0]


def test_opencv_draws_the_same_pixels_and_agrees_on_the_inverse() -> None:
    cv2 = pytest.importorskip("cv2")
    generator = torch.Generator().manual_seed(4)
    distortion = torch.tensor([-0.28, 0.07, 1e-3, -2e-3, 0.01], dtype=torch.float64)
    world = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    rvec, t = torch.tensor([0.2, -0.3, 0.1]).double(), torch.tensor([0.1, 0.2, 8.0]).double()
    square = K * torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])  # OpenCV ignores skew
    got = lens.project_distorted(world, square, axis_angle_to_matrix(rvec), t, distortion)
    want, _ = cv2.projectPoints(world.numpy(), rvec.numpy(), t.numpy(), square.numpy(), distortion.numpy())
    np.testing.assert_allclose(got.uv.numpy(), want[:, 0], atol=1e-8)
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-14)
    back = cv2.undistortImagePoints(want, square.numpy(), distortion.numpy(), arg1=criteria)[:, 0]
    undistorted = lens.undistort_pixels(got.uv, square, distortion)
    assert bool((undistorted.valid & got.valid).all())
    np.testing.assert_allclose(undistorted.points.numpy(), back, atol=1e-7)


def test_behind_the_camera_is_masked_and_nothing_is_clamped() -> None:
    world = torch.tensor([[0.1, 0.2, 2.0], [0.1, 0.2, -2.0], [9.0, 0.0, 2.0]], dtype=torch.float64)
    zero = torch.zeros(3, dtype=torch.float64)
    got = lens.project_distorted(world, K, torch.eye(3).double(), zero, BARREL)
    assert got.valid.tolist() == [True, False, False]
    assert got.depth.tolist() == [2.0, -2.0, 2.0]
    plain = lens.project_distorted(world, K, torch.eye(3).double(), zero, torch.zeros(5).double())
    torch.testing.assert_close(plain.uv, project(world, K, torch.eye(3).double(), zero).uv)


def test_pixels_broadcast_over_views() -> None:
    uv = torch.rand(3, 7, 2, dtype=torch.float64) * 1000
    many = torch.stack((BARREL, BARREL / 3, torch.zeros(5).double()))
    got = lens.undistort_pixels(uv, K.expand(3, 3, 3), many).points
    for view in range(3):
        torch.testing.assert_close(
            got[view], lens.undistort_pixels(uv[view], K, many[view]).points, equal_nan=True
        )
    torch.testing.assert_close(got[2], uv[2])
    torch.testing.assert_close(lens.distort_pixels(got, K, many).points[1:], uv[1:])


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"undistort: `distortion` must be \[...,5\]; got \[4\]"):
        lens.undistort(torch.zeros(2), torch.zeros(4))
    with pytest.raises(ValueError, match=r"distort: `points` must be \[...,2\]; got \[3\]"):
        lens.distort(torch.zeros(3), torch.zeros(5))


@pytest.mark.parametrize(
    ("coefficients", "radius"),
    [
        ((-1 / 3,), 1.0),
        ((-0.29,), 1 / math.sqrt(3 * 0.29)),
        ((0.2,), math.inf),
        ((0.0,), math.inf),
        ((0.0, -0.2), 1.0),
        ((0.0, 0.0, 0.0, 0.0, -1 / 7), 1.0),
        ((-0.3, 0.3), math.inf),  # the derivative has no real root
    ],
)
def test_fold_radius_of_simple_lenses(coefficients: tuple[float, ...], radius: float) -> None:
    distortion = torch.tensor([[*coefficients, *[0.0] * (5 - len(coefficients))]], dtype=torch.float64)
    torch.testing.assert_close(lens.fold_radius(distortion), torch.tensor([radius], dtype=torch.float64))


def test_fold_radius_is_the_first_root_of_the_derivative() -> None:
    distortion = torch.randn(300, 5, dtype=torch.float64) * torch.tensor([0.5, 0.3, 0.01, 0.01, 0.2])
    s = torch.linspace(0, 25, 40001, dtype=torch.float64)
    k1, k2, _, _, k3 = distortion[:, :, None].unbind(1)
    falls = (1 + 3 * k1 * s + 5 * k2 * s**2 + 7 * k3 * s**3) <= 0
    first = torch.where(falls.any(1), s[falls.double().argmax(1)].sqrt(), math.inf)
    got = lens.fold_radius(distortion)
    inside = got < 5
    assert torch.equal(inside, first < 5)
    torch.testing.assert_close(got[inside], first[inside], rtol=0, atol=2e-2)
