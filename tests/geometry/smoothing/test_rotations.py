"""Smoothing of rotations: a least-squares solution on the group, without lag, across gaps, in every frame alike."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from refkp.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_error
from refkp.geometry.smoothing import smooth_rotations


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spinning(turns: Tensor, num_frames: int) -> Tensor:
    """Rotations [T,M,3,3] that turn by [M,3] from each frame to the next, from a start of their own."""
    start = axis_angle_to_matrix(draw(99, len(turns), 3))
    time = torch.arange(num_frames, dtype=torch.float64)[:, None, None]
    return start @ axis_angle_to_matrix(time * turns)


def noisy(rotations: Tensor, sigma: float, seed: int = 7) -> Tensor:
    return rotations @ axis_angle_to_matrix(sigma * draw(seed, *rotations.shape[:-1]))


def angles(a: Tensor, b: Tensor) -> Tensor:
    return matrix_to_axis_angle(a.mT @ b).norm(dim=-1)


def same(variance: float, rotations: Tensor) -> Tensor:
    return torch.full(rotations.shape[:-2], variance, dtype=torch.float64)


def test_noise_on_a_constant_rotation_falls_by_the_factor_of_the_linear_system() -> None:
    num_frames, sigma, acceleration = 60, 0.01, 2e-4
    truth = spinning(torch.zeros(400, 3), num_frames)
    got = smooth_rotations(noisy(truth, sigma), same(sigma**2, truth), acceleration=acceleration)
    D = torch.zeros(num_frames - 2, num_frames, dtype=torch.float64)
    for offset, value in enumerate((1.0, -2.0, 1.0)):
        D.diagonal(offset).fill_(value)
    hat = torch.linalg.inv(torch.eye(num_frames).double() / sigma**2 + D.mT @ D / acceleration**2) / sigma**2
    expected = (hat @ hat.mT).diagonal().sqrt() * sigma  # per frame and axis
    found = (angles(truth, got).square().mean(1) / 3).sqrt()
    torch.testing.assert_close(found, expected, rtol=0.15, atol=0)
    assert float(expected.mean()) < 0.35 * sigma
    assert float((found / expected).mean()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("acceleration", [None, 1e-3, 1.0])
def test_a_constant_turn_comes_back_without_lag(acceleration: float | None) -> None:
    turns = 0.2 * draw(1, 6, 3)
    turns[0] = torch.tensor([0.0, 0.0, 2.9])
    truth = spinning(turns, 40)
    torch.testing.assert_close(
        smooth_rotations(truth, same(1e-4, truth), acceleration=acceleration), truth, rtol=0, atol=1e-9
    )


def test_noise_on_a_constant_turn_has_no_side() -> None:
    turns = torch.tensor([[0.3, 0.0, 0.0]]).double().expand(200, 3)
    truth = spinning(turns, 40)
    got = smooth_rotations(noisy(truth, 0.02), same(4e-4, truth), acceleration=1e-3)
    off = matrix_to_axis_angle(truth.mT @ got)
    assert float(off.mean((0, 1)).abs().max()) < 3 * 0.02 / math.sqrt(200 * 40 / 4)
    assert float(off.square().mean().sqrt()) < 0.5 * 0.02


@pytest.mark.parametrize("turn", [0.05, 0.15, 0.35])
def test_a_gap_of_fifteen_frames_is_bridged_also_where_more_than_half_a_turn_is_missing(turn: float) -> None:
    directions = torch.nn.functional.normalize(draw(2, 50, 3), dim=-1)
    truth = spinning(turn * directions, 60)
    seen = noisy(truth, 0.01)
    seen[20:35] = torch.nan
    got = smooth_rotations(seen, same(1e-4, truth), acceleration=1e-3)
    assert float(angles(truth, got)[20:35].max()) < 0.05
    assert float(angles(truth, got).max()) < 0.05


def test_the_ends_go_on_turning() -> None:
    truth = spinning(0.1 * draw(3, 4, 3), 20)
    seen = truth.clone()
    seen[:4], seen[16:] = torch.nan, torch.nan
    got = smooth_rotations(seen, same(1e-4, truth), acceleration=1e-2)
    torch.testing.assert_close(got, truth, rtol=0, atol=1e-8)


@pytest.mark.parametrize("degrees", [179.0, -179.0, 90.0])
def test_between_two_rotations_it_takes_the_short_way(degrees: float) -> None:
    seen = torch.full((11, 3, 3), torch.nan, dtype=torch.float64)
    axis = torch.nn.functional.normalize(draw(4, 3), dim=-1)
    seen[0], seen[10] = torch.eye(3), axis_angle_to_matrix(math.radians(degrees) * axis)
    got = smooth_rotations(seen, same(1e-4, seen), acceleration=1e-3)
    steps = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None] * math.radians(degrees) * axis
    torch.testing.assert_close(got, axis_angle_to_matrix(steps), rtol=0, atol=1e-8)


def test_it_moves_with_the_frame_of_the_world_and_of_the_joint() -> None:
    truth = spinning(0.1 * draw(5, 8, 3), 30)
    seen = noisy(truth, 0.1)
    seen[10:14, 2] = torch.nan
    world, joint = axis_angle_to_matrix(draw(6, 2, 3))
    variance = same(1e-2, truth)
    plain = smooth_rotations(seen, variance, acceleration=0.01)
    torch.testing.assert_close(smooth_rotations(world @ seen, variance, acceleration=0.01), world @ plain)
    torch.testing.assert_close(smooth_rotations(seen @ joint, variance, acceleration=0.01), plain @ joint)


def test_every_result_is_a_rotation_also_of_wild_measurements() -> None:
    seen = axis_angle_to_matrix(3 * draw(8, 40, 10, 3))
    got = smooth_rotations(seen, same(0.1, seen))
    assert float(rotation_error(got).max()) < 1e-12


def test_it_is_the_least_of_its_cost() -> None:
    """No small turn of one frame or of all makes the sum smaller."""
    seen = noisy(spinning(0.3 * draw(9, 1, 3), 12), 0.3)
    variance = 0.05 + draw(10, 12, 1).square()
    got = smooth_rotations(seen, variance, acceleration=0.2)

    def cost(rotations: Tensor) -> float:
        turns = matrix_to_axis_angle(rotations[:-1].mT @ rotations[1:])
        measured = (angles(seen, rotations).square() / variance).sum()
        return float(measured + turns.diff(dim=0).square().sum() / 0.2**2)

    least = cost(got)
    for seed in range(20):
        moved = got @ axis_angle_to_matrix(1e-4 * draw(100 + seed, 12, 1, 3))
        assert cost(moved) > least


def test_a_frame_that_is_known_better_counts_more() -> None:
    seen = torch.eye(3).double().expand(21, 3, 3).clone()
    seen[10] = axis_angle_to_matrix(torch.tensor([0.3, 0.0, 0.0]).double())
    variance = same(1e-4, seen)
    follows = smooth_rotations(seen, variance, acceleration=1e-3)
    variance[10] = 1.0
    ignores = smooth_rotations(seen, variance, acceleration=1e-3)
    assert float(angles(ignores[10], torch.eye(3).double())) < 0.01 * float(
        angles(follows[10], torch.eye(3).double())
    )
    variance[10] = math.inf
    seen[10] = torch.nan
    torch.testing.assert_close(smooth_rotations(seen, variance, acceleration=1e-3)[10], torch.eye(3).double())


def test_shapes_dtypes_and_tracks_that_nobody_saw() -> None:
    seen = noisy(spinning(0.1 * draw(11, 6, 3), 9), 0.01).float().unflatten(1, (2, 3))
    seen[:, 0, 1] = torch.nan
    seen[3:, 1, 2] = torch.nan
    seen[1:, 1, 0] = torch.nan
    got = smooth_rotations(seen, torch.full((9, 2, 3), 1e-4))
    assert got.shape == seen.shape
    assert got.dtype == torch.float32
    lost = torch.tensor([[False, True, False], [True, False, False]])
    torch.testing.assert_close(got.isnan().all(-1).all(-1).all(0), lost)
    assert bool(got[:, ~lost].isfinite().all())
    assert bool(smooth_rotations(seen[:1], torch.full((1, 2, 3), 1e-4)).isnan().all())
    torch.testing.assert_close(smooth_rotations(seen[:2, 0, :1], torch.full((2, 1), 1e-4)), seen[:2, 0, :1])


def test_errors() -> None:
    eye = torch.eye(3).expand(4, 3, 3)
    with pytest.raises(ValueError, match=r"smooth_rotations: `rotations` must be \[...,3,3\]"):
        smooth_rotations(torch.zeros(4, 3), torch.ones(4))
    with pytest.raises(ValueError, match=r"smooth_rotations: `variance` must be \[4\]"):
        smooth_rotations(eye, torch.ones(3))
    with pytest.raises(ValueError, match="`variance` must be above 0, or NaN"):
        smooth_rotations(eye, torch.zeros(4))
    with pytest.raises(ValueError, match="`rotations` must be rotations, or NaN"):
        smooth_rotations(2 * eye, torch.ones(4))
    with pytest.raises(ValueError, match="`acceleration` must be above 0; got -1"):
        smooth_rotations(eye, torch.ones(4), acceleration=-1)
