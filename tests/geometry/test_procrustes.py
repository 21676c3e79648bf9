"""Procrustes: the motion that made the points is found, a mirror image is not."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given, settings
from hypothesis import strategies as st

from refkp.geometry.procrustes import align
from refkp.geometry.rotations import quaternion_to_matrix


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
def test_the_motion_is_found(seed: int, factor: float) -> None:
    x, R, t = draw(seed, 2, 6, 3), quaternion_to_matrix(draw(seed + 1, 2, 4)), draw(seed + 2, 2, 3)
    found = align(x, factor * x @ R.mT + t[:, None])
    torch.testing.assert_close(found.R, R)
    torch.testing.assert_close(found.scale, torch.full_like(found.scale, factor))
    torch.testing.assert_close(found.t, t)


def test_flat_points_and_mirror_images_get_a_rotation() -> None:
    x = draw(3, 8, 3)
    mirrored = align(x, x * torch.tensor([1.0, 1.0, -1.0]))
    assert float(torch.linalg.det(mirrored.R)) == pytest.approx(1)
    flat = x * torch.tensor([1.0, 1.0, 0.0])
    R = quaternion_to_matrix(draw(4, 4))
    torch.testing.assert_close(align(flat, flat @ R.mT).R, R)


def test_the_alignment_is_the_best_one() -> None:
    x, y, weights = draw(5, 9, 3), draw(6, 9, 3), draw(7, 9).abs()
    found = align(x, y, weights)

    def cost(scale: torch.Tensor, R: torch.Tensor, t: torch.Tensor) -> float:
        return float((weights * (scale * x @ R.mT + t - y).square().sum(-1)).sum())

    best = cost(*found)
    for seed in range(20):
        turn = quaternion_to_matrix(torch.tensor([1.0, 0.0, 0.0, 0.0]).double() + 1e-2 * draw(seed, 4))
        assert cost(found.scale * (1 + 1e-3 * seed), found.R @ turn, found.t + 1e-3 * draw(seed, 3)) > best


def test_points_without_weight_count_nowhere() -> None:
    x, y = draw(8, 7, 3), draw(9, 7, 3)
    weights = torch.tensor([1.0, 2.0, 1.0, 0.5, 1.0, 0.0, 0.0]).double()
    y[5:] = torch.nan
    got, want = align(x, y, weights), align(x[:5], y[:5], weights[:5])
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(got.apply(x)[:5], want.apply(x[:5]))


@pytest.mark.parametrize("scale", [True, False])
def test_gradcheck(scale: bool) -> None:
    inputs = [draw(10, 6, 3), draw(11, 6, 3), draw(12, 6).abs()]
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda *tensors: tuple(align(*tensors, scale=scale)), inputs)


def test_the_gradient_is_finite_where_singular_values_are_equal() -> None:
    x = torch.cat((torch.eye(3), -torch.eye(3))).double()
    y = (2 * x).requires_grad_()
    assert torch.autograd.gradcheck(lambda target: tuple(align(x, target)), (y,))


def test_rigid_motion_keeps_the_size_and_errors() -> None:
    x = draw(13, 5, 3)
    assert float(align(x, 3 * x, scale=False).scale) == 1.0
    with pytest.raises(ValueError, match=r"align: `target` must be \[...,5,3\]; got \[4,3\]"):
        align(x, x[:4])
