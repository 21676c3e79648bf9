"""Linear triangulation: exact data gives exact points, any row weighting, with gradients."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.triangulation import reprojection_error, triangulate_differentiable, triangulate_dlt
from tests.support.rigs import ring_rig, scattered_points


def scene(num_views: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points [5,3], what pinholes see [5,V,2] and P [V,3,4]."""
    rig = ring_rig(num_views)
    rig = rig._replace(distortion=torch.zeros_like(rig.distortion))
    points = scattered_points(5)
    return points, rig.project(points).uv, rig.projection_matrices()


@pytest.mark.parametrize("normalise_rows", [True, False])
def test_exact_data_gives_exact_points(normalise_rows: bool) -> None:
    points, uv, P = scene()
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[0, :2] = False
    uv[1, 3] = torch.nan
    got = triangulate_dlt(uv, P, mask, normalise_rows=normalise_rows)
    assert bool(got.valid.all())
    torch.testing.assert_close(got.points, points, atol=1e-7, rtol=0)
    soft = triangulate_differentiable(uv, P, mask.double(), damping=1e-14, normalise_rows=normalise_rows)
    torch.testing.assert_close(soft.points, points, atol=1e-5, rtol=0)
    assert float(reprojection_error(got.points, uv, P).nan_to_num().max()) < 1e-8


def test_one_view_is_no_point_and_a_padded_view_changes_nothing() -> None:
    _, uv, P = scene(3)
    one = triangulate_dlt(uv, P, torch.tensor([True, False, False]).expand(5, 3))
    assert not one.valid.any()
    assert bool(one.points.isnan().all())
    padded_uv = torch.cat((uv, torch.full_like(uv[:, :1], torch.nan)), dim=1)
    padded_P = torch.cat((P, torch.full_like(P[:1], torch.nan)))
    for solve in (triangulate_dlt, triangulate_differentiable):
        torch.testing.assert_close(solve(padded_uv, padded_P).points, solve(uv, P).points)
    soft = triangulate_differentiable(uv, P, torch.tensor([1.0, 0.0, 0.0]).double().expand(5, 3))
    assert bool(soft.points.isfinite().all())
    assert not soft.valid.any()


def test_normalised_rows_make_the_unit_of_the_world_immaterial() -> None:
    _, uv, P = scene()
    uv = uv + torch.randn(uv.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    in_metres = P.clone()
    in_metres[..., 3] /= 1000
    got = triangulate_differentiable(uv, in_metres).points * 1000
    torch.testing.assert_close(got, triangulate_differentiable(uv, P).points, atol=1e-6, rtol=0)


@pytest.mark.parametrize("normalise_rows", [True, False])
def test_gradients_to_pixels_cameras_and_weights(normalise_rows: bool) -> None:
    _, uv, P = scene(3)
    P = P / 1000
    weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64).repeat(2, 1)
    inputs = [tensor.clone().requires_grad_() for tensor in (uv[:2] / 1000, P, weights)]
    assert torch.autograd.gradcheck(
        lambda u, p, w: triangulate_differentiable(u, p, w, normalise_rows=normalise_rows).points, inputs
    )


def test_a_missing_view_does_not_poison_the_gradient() -> None:
    _, uv, P = scene(3)
    uv[0, 1] = torch.nan
    uv.requires_grad_()
    P.requires_grad_()
    triangulate_differentiable(uv, P).points.sum().backward()
    assert uv.grad is not None
    assert P.grad is not None
    assert bool(P.grad.isfinite().all())
    assert uv.grad[0, 1].tolist() == [0.0, 0.0]


def test_errors() -> None:
    _, uv, P = scene(3)
    with pytest.raises(ValueError, match=r"triangulate_dlt: `P` must be \[...,3,3,4\]"):
        triangulate_dlt(uv, P[:2])
