"""Losses by hand: masks, definitions, gradients where nothing counts."""

from __future__ import annotations

import math

import pytest
import torch

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.multiview.losses.cameras import camera_loss
from refkp.systems.multiview.losses.points import (
    keypoint_loss,
    keypoint_loss_by_view,
    keypoint_weights,
    point_loss,
)
from refkp.systems.multiview.losses.rotations import (
    geodesic_loss,
    joint_angle_loss,
    joint_limit_loss,
    rotation_loss,
    square_loss,
)
from refkp.systems.multiview.losses.silhouette import silhouette_loss, soft_silhouette

NAN = float("nan")


def test_what_counts_of_keypoints() -> None:
    target = torch.tensor([[[[0.5, 0.5], [1.5, 0.5], [NAN, NAN], [0.0, 1.0]]], [[[0.5, 0.5]] * 4]])
    visibility = torch.tensor([[[0.25, 1.0, 1.0, 0.5]], [[1.0, 1.0, 1.0, 1.0]]])
    mask = torch.tensor([[True], [False]])
    weights = keypoint_weights(target, visibility, mask)
    assert weights.tolist() == [[[0.25, 0.0, 0.0, 0.5]], [[0.0] * 4]]
    hard = keypoint_weights(target, visibility, mask, torch.tensor([10.0, 1, 1, 0]), soft=False)
    assert hard.tolist() == [[[10.0, 0.0, 0.0, 0.0]], [[0.0] * 4]]


def test_keypoints_by_hand() -> None:
    estimate = torch.tensor([[3.0, 4.0], [1.0, 0.0], [NAN, 7.0]])
    target, weights = torch.zeros(3, 2), torch.tensor([1.0, 3.0, 0.0])
    assert float(keypoint_loss(estimate, target, weights).value) == pytest.approx((25 + 3) / 4)
    assert float(keypoint_loss(estimate, target, weights, of="coordinates").value) == pytest.approx(28 / 8)
    # Linear from a distance of 2 on: 2 * 2 * 5 - 4.
    assert float(keypoint_loss(estimate, target, weights, huber=2.0).value) == pytest.approx((16 + 3) / 4)
    with pytest.raises(ValueError, match="`of` must be 'points' or 'coordinates'"):
        keypoint_loss(estimate, target, weights, of="pixels")


def test_gradients_of_points_that_do_not_count_are_zero() -> None:
    estimate = torch.tensor([[3.0, 4.0], [NAN, torch.inf]], requires_grad=True)
    loss = keypoint_loss(
        estimate, torch.tensor([[0.0, 0.0], [NAN, NAN]]), torch.tensor([1.0, 0.0]), huber=1.0
    )
    (grad,) = torch.autograd.grad(loss.value, estimate)
    assert grad[1].tolist() == [0.0, 0.0]
    torch.testing.assert_close(grad[0], 2 * torch.tensor([0.6, 0.8]))


def test_the_views_together_are_the_whole() -> None:
    torch.manual_seed(0)
    estimate, target = torch.rand(2, 3, 4, 2), torch.rand(2, 3, 4, 2)
    weights = torch.rand(2, 3, 4)
    weights[:, 1] = 0
    views = keypoint_loss_by_view(estimate, target, weights)
    assert views.loss[1] == views.weight[1] == 0
    whole = (views.loss * views.weight).sum() / views.weight.sum()
    torch.testing.assert_close(whole, keypoint_loss(estimate, target, weights).value)


def test_points_in_space() -> None:
    estimate = torch.tensor([[[1.0, 2.0, 2.0], [5.0, 5.0, 5.0]]])
    target = torch.tensor([[[0.0, 0.0, 0.0], [NAN, NAN, NAN]]])
    assert float(point_loss(estimate, target, torch.tensor([[2.0, 0.0]])).value) == pytest.approx(3.0)


def test_rotations_by_their_angle() -> None:
    turn = axis_angle_to_matrix(torch.tensor([[0.0, 0.6, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64))
    identity, known = torch.eye(3).double().expand(2, 3, 3), torch.tensor([True, False])
    frobenius = rotation_loss(turn, identity, known).value
    assert float(frobenius) == pytest.approx(2 * math.sqrt(2) * math.sin(0.3))
    assert float(geodesic_loss(turn, identity, known).value) == pytest.approx(0.6)
    same = identity.clone().requires_grad_()
    assert torch.autograd.grad(rotation_loss(same, identity, known).value, same)[0].abs().sum() == 0


def test_joints_and_their_limits() -> None:
    angles = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    rotations = axis_angle_to_matrix(angles).requires_grad_()
    assert float(joint_angle_loss(rotations).value) == pytest.approx((0.25 + 1) / 3)
    loss = joint_limit_loss(rotations, torch.tensor([0.6, 0.7, 0.1]).double()).value
    assert float(loss) == pytest.approx(0.09 / 3)
    assert bool(torch.isfinite(torch.autograd.grad(loss, rotations)[0]).all())


def test_numbers_of_samples_that_know_them() -> None:
    values = torch.tensor([[1.0, 3.0], [NAN, 9.0]])
    assert float(square_loss(values, torch.tensor([True, False])).value) == pytest.approx(5.0)
    assert float(square_loss(values[:1]).value) == pytest.approx(5.0)


def test_cameras_over_all_and_over_views() -> None:
    estimate = torch.tensor([[[1.0], [3.0]], [[2.0], [NAN]]])
    target = torch.tensor([[[0.0], [0.0]], [[0.0], [NAN]]])
    known = torch.tensor([[True, True], [True, False]])
    assert float(camera_loss(estimate, target, known).value) == pytest.approx((1 + 9 + 4) / 3)
    assert float(camera_loss(estimate, target, known, by_view=True).value) == pytest.approx((2.5 + 9) / 2)
    first = torch.tensor([[True, False], [True, False]])
    assert float(camera_loss(estimate, target, first, by_view=True).value) == pytest.approx(2.5)
    nobody = camera_loss(estimate, target, torch.zeros_like(known), by_view=True)
    assert float(nobody.value) == 0


def test_a_silhouette_covers_its_triangle() -> None:
    """A large triangle in pieces is covered like itself, whatever is held at once."""
    vertices = torch.tensor([[[0.9, -0.9, 0.0], [-0.9, -0.9, 0.0], [0.0, 0.9, 0.0]]], dtype=torch.float64)
    alpha = soft_silhouette(vertices, torch.tensor([[0, 1, 2]]), (20, 30), sigma=1e-4)
    assert alpha.shape == (1, 20, 30)
    assert float(alpha[0, 12, 15]) > 0.999
    assert float(alpha[0, 1, 2]) == 0
    assert float(alpha[0].sum()) * (2 / 20) ** 2 == pytest.approx(1.8 * 1.8 / 2, rel=0.03)
    assert float(silhouette_loss(alpha, torch.zeros_like(alpha)).value) == pytest.approx(float(alpha.mean()))
