"""Rotations: laws, gradients at the singular points, and the conventions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given, settings
from hypothesis import strategies as st

from refkp.geometry import rotations as rot

unit_interval = st.floats(-1.0, 1.0, allow_subnormal=False)
vectors = st.tuples(unit_interval, unit_interval, unit_interval)


def random_matrices(count: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return rot.quaternion_to_matrix(torch.randn(count, 4, generator=generator, dtype=dtype))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_every_form_gives_the_matrix_back(dtype: torch.dtype, atol: float) -> None:
    matrix = random_matrices(500, dtype)
    torch.testing.assert_close(
        matrix @ matrix.mT, torch.eye(3, dtype=dtype).expand_as(matrix), atol=atol, rtol=0
    )
    for there, back in (
        (rot.matrix_to_quaternion, rot.quaternion_to_matrix),
        (rot.matrix_to_axis_angle, rot.axis_angle_to_matrix),
        (rot.matrix_to_rotation_6d, rot.rotation_6d_to_matrix),
    ):
        torch.testing.assert_close(back(there(matrix)), matrix, atol=atol, rtol=0)


@settings(max_examples=100, deadline=None)
@given(axis=vectors, exponent=st.floats(-12.0, 0.0))
def test_angles_from_tiny_to_pi_come_back(axis: tuple[float, float, float], exponent: float) -> None:
    direction = torch.tensor(axis, dtype=torch.float64)
    if direction.norm() < 1e-3:
        return
    vector = direction / direction.norm() * math.pi * (1 - 1e-9) * 10**exponent
    back = rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(vector))
    torch.testing.assert_close(back, vector, rtol=1e-6, atol=1e-15)


def test_half_turns_give_the_axis_up_to_sign() -> None:
    axes = torch.nn.functional.normalize(torch.randn(50, 3, dtype=torch.float64), dim=-1)
    axes = torch.cat((axes, torch.eye(3, dtype=torch.float64)))
    back = rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(axes * math.pi))
    torch.testing.assert_close(back.norm(dim=-1), torch.full((53,), math.pi, dtype=torch.float64))
    torch.testing.assert_close((back * axes).sum(-1).abs(), torch.full((53,), math.pi, dtype=torch.float64))


@pytest.mark.parametrize(
    ("function", "size"),
    [(rot.axis_angle_to_matrix, 3), (rot.quaternion_to_matrix, 4), (rot.rotation_6d_to_matrix, 6)],
)
def test_gradcheck_to_matrix(function: Callable[[Tensor], Tensor], size: int) -> None:
    inputs = torch.randn(4, size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("size", [1e-9, 1e-5, 0.031, 0.032, 1.0, 3.0])
def test_gradcheck_through_the_matrix_at_every_angle(size: float) -> None:
    axis_angle = (torch.tensor([[0.6, -0.48, 0.64]], dtype=torch.float64) * size).requires_grad_()
    assert torch.autograd.gradcheck(rot.axis_angle_to_matrix, axis_angle)
    assert torch.autograd.gradcheck(
        lambda v: rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(v)),
        axis_angle,
        eps=1e-7 * max(size, 1e-3),
    )


def test_gradients_are_finite_at_the_identity() -> None:
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    matrix = rot.axis_angle_to_matrix(zero)
    jacobian = torch.autograd.functional.jacobian(
        lambda v: rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(v)), zero
    )
    torch.testing.assert_close(jacobian, torch.eye(3, dtype=torch.float64))
    angle = rot.rotation_angle_between(torch.eye(3, dtype=torch.float64), matrix)
    (gradient,) = torch.autograd.grad(angle, zero)
    assert angle == 0
    assert torch.equal(gradient, torch.zeros_like(zero))


def test_angle_between_is_symmetric_and_invariant() -> None:
    a, b, frame = random_matrices(60).split(20)
    angle = rot.rotation_angle_between(a, b)
    cosine = ((a.mT @ b).diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    torch.testing.assert_close(angle, cosine.acos())
    torch.testing.assert_close(rot.rotation_angle_between(b, a), angle)
    torch.testing.assert_close(rot.rotation_angle_between(frame @ a, frame @ b), angle)


def test_small_angle_between_keeps_its_digits_in_float32() -> None:
    tilt = rot.axis_angle_to_matrix(torch.tensor([0.0, 3e-4, 0.0]))
    torch.testing.assert_close(
        rot.rotation_angle_between(torch.eye(3), tilt), torch.tensor(3e-4), rtol=1e-5, atol=0
    )


def test_leading_axes_are_free() -> None:
    axis_angle = torch.randn(2, 0, 5, 3)
    assert rot.axis_angle_to_matrix(axis_angle).shape == (2, 0, 5, 3, 3)
    assert rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(axis_angle)).shape == (2, 0, 5, 3)
    assert rot.matrix_to_quaternion(torch.eye(3)).shape == (4,)


def test_convention_axis_angle_is_right_handed() -> None:
    quarter = rot.axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi / 2]))
    torch.testing.assert_close(quarter @ torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))


def test_convention_quaternion_is_wxyz_with_positive_w() -> None:
    quaternion = rot.matrix_to_quaternion(rot.axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi / 2])))
    torch.testing.assert_close(quaternion, torch.tensor([1.0, 0.0, 0.0, 1.0]) / math.sqrt(2))
    matrix = rot.quaternion_to_matrix(-3 * quaternion)
    torch.testing.assert_close(rot.matrix_to_quaternion(matrix), quaternion)


def test_convention_6d_is_the_first_two_rows() -> None:
    matrix = random_matrices(1)[0]
    torch.testing.assert_close(rot.matrix_to_rotation_6d(matrix), torch.cat((matrix[0], matrix[1])))
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    assert torch.equal(rot.rotation_6d_to_matrix(identity), torch.eye(3))


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (
            rot.axis_angle_to_matrix,
            (2, 4),
            r"axis_angle_to_matrix: `axis_angle` must be \[...,3\]; got \[2,4\]",
        ),
        (rot.quaternion_to_matrix, (3,), r"quaternion_to_matrix: `quaternion` must be \[...,4\]; got \[3\]"),
        (rot.rotation_6d_to_matrix, (5,), r"rotation_6d_to_matrix: `rotation_6d` must be \[...,6\]"),
        (rot.matrix_to_quaternion, (3,), r"matrix_to_quaternion: `matrix` must be \[...,3,3\]; got \[3\]"),
        (rot.matrix_to_axis_angle, (4, 4), r"`matrix` must be \[...,3,3\]"),
        (rot.matrix_to_rotation_6d, (4, 4), r"matrix_to_rotation_6d: `matrix` must be \[...,3,3\]"),
    ],
)
def test_wrong_shapes_are_named(
    function: Callable[[Tensor], Tensor], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(shape))


def test_the_error_of_a_rotation() -> None:
    loose = torch.eye(3) + torch.diag(torch.tensor([0.0, 0.004, 0.0]))
    mirrored = torch.diag(torch.tensor([1.0, 1.0, -1.0]))
    error = rot.rotation_error(torch.stack((torch.eye(3), loose, mirrored, torch.full((3, 3), torch.nan))))
    torch.testing.assert_close(error[:2], torch.tensor([0.0, 0.008016]), rtol=0, atol=1e-6)
    assert error[2] == torch.inf
    assert error[3].isnan()
    assert rot.rotation_angle_between(loose, loose) == 0


@pytest.mark.parametrize("angle", [1e-9, 1e-5, 1e-3, 1.9e-3, 2.1e-3, 0.01])
def test_small_angles_keep_their_digits(angle: float) -> None:
    axis_angle = angle * torch.tensor([2.0, -1.0, 2.0], dtype=torch.float64) / 3
    back = rot.matrix_to_axis_angle(rot.axis_angle_to_matrix(axis_angle))
    torch.testing.assert_close(back, axis_angle, rtol=1e-9, atol=1e-17)
