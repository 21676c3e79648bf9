"""Triangulation of data: outliers are found, errors are as claimed, and padding changes no bit."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.rig import Rig
from refkp.geometry.triangulation import TriangulationSpec, triangulate
from tests.support.rigs import detections, ring_rig, scattered_points


def test_exact_data_gives_exact_points_with_any_leading_axes() -> None:
    rig, points = ring_rig(5), scattered_points(12).reshape(3, 4, 3)
    got = triangulate(rig.project(points).uv, rig)
    torch.testing.assert_close(got.points, points, atol=1e-8, rtol=0)
    assert got.covariance.shape == (3, 4, 3, 3)
    assert got.inliers.shape == (3, 4, 5)
    assert bool(got.inliers.all() & got.valid.all())
    single = triangulate(rig.project(points).uv.float(), rig.to(torch.float32))
    assert single.points.dtype == torch.float32
    torch.testing.assert_close(single.points.double(), points, atol=1e-3, rtol=0)


def test_with_three_tenths_wrong_it_is_as_good_as_from_the_right_ones_alone() -> None:
    rig, points = ring_rig(6), scattered_points(3000)
    uv, wrong = detections(rig, points, noise_px=1.0, wrong=0.3)
    got, ideal = triangulate(uv, rig), triangulate(torch.where(wrong[..., None], torch.nan, uv), rig)
    both = got.valid & ideal.valid
    assert float(got.valid[(~wrong).sum(-1) >= 3].double().mean()) > 0.999
    error, best = ((found.points - points)[both].square().sum(-1).mean().sqrt() for found in (got, ideal))
    assert float(error / best) < 1.2
    assert float((got.inliers & wrong).double().mean()) < 0.002


def test_claimed_covariances_cover() -> None:
    rig, points = ring_rig(6), scattered_points(6000, seed=3)
    uv, _ = detections(rig, points, noise_px=0.8, missing=0.3, wrong=0.05, seed=3)
    got = triangulate(uv, rig)
    ok = got.valid
    off, covariance = (got.points - points)[ok], got.covariance[ok]
    inside = (off.abs() < covariance.diagonal(dim1=-2, dim2=-1).sqrt()).double().mean(0)
    assert bool(((inside - 0.6827).abs() < 0.02).all())
    squared = (off[:, None] @ torch.linalg.solve(covariance, off[..., None])).flatten()
    assert float(squared.median()) == pytest.approx(2.366, rel=0.06)  # chi-squared with 3 degrees of freedom
    stated = triangulate(uv, rig, spec=TriangulationSpec(noise_px=1.6))
    torch.testing.assert_close(
        stated.covariance[ok].diagonal(dim1=-2, dim2=-1).sum(),
        4 * covariance.diagonal(dim1=-2, dim2=-1).sum(),
        rtol=0.1,
        atol=0,
    )


def test_a_padded_view_changes_no_bit_and_a_point_takes_nothing_from_others() -> None:
    rig, points = ring_rig(4), scattered_points(200)
    uv, _ = detections(rig, points, noise_px=1.0, missing=0.2, wrong=0.2)
    got = triangulate(uv, rig)
    padded = Rig(*(torch.cat((t[:2], torch.full_like(t[:1], torch.nan), t[2:])) for t in rig))
    padded_uv = torch.cat((uv[:, :2], torch.full_like(uv[:, :1], torch.nan), uv[:, 2:]), dim=1)
    views = [0, 1, 3, 4]
    again = triangulate(padded_uv, padded)
    for one, other in zip(got, again, strict=True):
        other = other[:, views] if other.shape[1:] == (5,) else other
        assert torch.equal(one.nan_to_num(7.0) if one.is_floating_point() else one, other.nan_to_num(7.0))
    assert not again.inliers[:, 2].any()
    alone = triangulate(uv[50:60], rig, spec=TriangulationSpec(noise_px=1.0))
    assert torch.equal(alone.points.nan_to_num(7.0), got.points[50:60].nan_to_num(7.0))
    masked = torch.where(torch.arange(4) == 1, 0.0, 1.0).double().expand(200, 4)
    dropped = triangulate(torch.where(masked[..., None] > 0, uv, torch.nan), rig)
    assert torch.equal(
        triangulate(uv, rig, weights=masked).points.nan_to_num(7.0), dropped.points.nan_to_num(7.0)
    )


def test_views_of_more_weight_draw_the_point() -> None:
    rig, points = ring_rig(3), scattered_points(50)
    uv, _ = detections(rig, points, noise_px=1.5)
    even = triangulate(uv, rig)
    heavy = triangulate(uv, rig, weights=torch.tensor([100.0, 1.0, 1.0]).double().expand(50, 3))
    assert float(heavy.residual_px[:, 0].mean()) < 0.3 * float(even.residual_px[:, 0].mean())


def test_a_point_behind_a_camera_is_not_made_from_it() -> None:
    rig = ring_rig(2)
    rig = rig._replace(distortion=torch.zeros_like(rig.distortion))
    behind = 3 * rig.centres()[:1]  # behind the first camera, in front of the second
    uv = rig.project(behind).uv
    got = triangulate(uv, rig)
    assert not got.valid.any()
    assert bool(got.points.isnan().all())


def test_too_few_views_that_agree_are_no_point() -> None:
    rig, points = ring_rig(6), scattered_points(20)
    uv, _ = detections(rig, points, noise_px=0.1)
    uv[:, 2:] += torch.randn(20, 4, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * 200
    assert float(triangulate(uv, rig).valid.double().mean()) < 0.2
    lax = triangulate(uv, rig, spec=TriangulationSpec(min_share=0.0))
    assert float(lax.valid.double().mean()) == 1.0
    three = triangulate(uv[:, :2], rig.select([0, 1]), spec=TriangulationSpec(min_views=3))
    assert not three.valid.any()
    assert bool(three.covariance.isnan().all())


def test_many_views_draw_pairs_and_points_that_none_of_them_sees_get_all() -> None:
    rig, points = ring_rig(9), scattered_points(60)
    uv, _ = detections(rig, points, noise_px=0.5, wrong=0.2)
    few = TriangulationSpec(max_pairs=5)
    got, every = triangulate(uv, rig, spec=few), triangulate(uv, rig)
    same = got.valid & every.valid
    assert float(same.double().mean()) > 0.9
    uv[0, 2:] = torch.nan
    uv[1, :7] = torch.nan
    lonely = triangulate(uv[:2], rig, spec=TriangulationSpec(max_pairs=1, noise_px=1.0))
    torch.testing.assert_close(lonely.valid, triangulate(uv[:2], rig).valid)
    again = triangulate(uv, rig, spec=few)
    assert torch.equal(again.points.nan_to_num(), triangulate(uv, rig, spec=few).points.nan_to_num())


@pytest.mark.parametrize("shape", [(0, 3, 2), (4, 1, 2)])
def test_no_points_and_one_view_are_no_error(shape: tuple[int, ...]) -> None:
    got = triangulate(torch.rand(shape), ring_rig(shape[1]))
    assert got.points.shape == (shape[0], 3)
    assert not got.valid.any()


def test_points_that_nobody_sees_are_not_valid() -> None:
    got = triangulate(torch.full((3, 4, 2), torch.nan), ring_rig(4))
    assert not got.valid.any()
    assert got.residual_px.shape == (3, 4)


def test_a_session_of_a_thousand_frames_is_within_a_hundredth_of_the_body() -> None:
    rig, body = ring_rig(6), scattered_points(15, size=75.0)
    time = torch.arange(1000, dtype=torch.float64)[:, None, None]
    tracks = body + 40 * torch.sin(time / 60 + torch.arange(3))
    uv, _ = detections(rig, tracks, noise_px=0.7, missing=0.3, wrong=0.05)
    got = triangulate(uv, rig)
    error = (got.points - tracks)[got.valid].norm(dim=-1).mean()
    assert float(error) < 0.01 * float(torch.cdist(body, body).max())
    assert float(got.valid.double().mean()) > 0.97


def test_errors() -> None:
    rig = ring_rig(3)
    with pytest.raises(ValueError, match=r"triangulate: `uv` must be \[...,3,2\]; got \[5,4,2\]"):
        triangulate(torch.zeros(5, 4, 2), rig)
    with pytest.raises(ValueError, match=r"triangulate: `weights` must be \[5,3\]; got \[5,2\]"):
        triangulate(torch.zeros(5, 3, 2), rig, weights=torch.ones(5, 2))
    with pytest.raises(ValueError, match="`min_views` must be at least 2; got 1"):
        TriangulationSpec(min_views=1)
    with pytest.raises(ValueError, match="`threshold_px` must be above 0"):
        TriangulationSpec(threshold_px=0)
