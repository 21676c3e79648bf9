"""Smoothing: the solution of the dense system, gaps filled, noise taken off."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.smoothing import smooth_points
from refkp.geometry.triangulation import triangulate
from tests.support.rigs import detections, ring_rig, scattered_points


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_solves_the_dense_system() -> None:
    points, root = draw(0, 9, 2, 3), draw(1, 9, 2, 3, 3)
    covariance = root @ root.mT + 0.1 * torch.eye(3).double()
    points[3:5, 0] = torch.nan
    got = smooth_points(points, covariance, acceleration=0.5)
    D = torch.zeros(7, 9, dtype=torch.float64)
    for offset, value in enumerate((1.0, -2.0, 1.0)):
        D.diagonal(offset).fill_(value)
    for track in range(2):
        precision = torch.linalg.inv(covariance[:, track])
        precision[points[:, track].isnan().any(-1)] = 0
        left = torch.block_diag(*precision) + torch.kron(D.mT @ D, torch.eye(3).double()) / 0.25
        right = (precision @ points[:, track].nan_to_num()[..., None]).flatten()
        torch.testing.assert_close(got[:, track].flatten(), torch.linalg.solve(left, right))


def test_a_uniform_motion_stays_and_gaps_are_filled() -> None:
    time = torch.arange(20, dtype=torch.float64)[:, None, None]
    motion = time * torch.tensor([1.0, 2.0, -0.5]).double() + draw(2, 1, 4, 3)
    seen = motion.clone()
    seen[5:9] = torch.nan
    covariance = torch.eye(3).double().expand(20, 4, 3, 3)
    torch.testing.assert_close(smooth_points(seen, covariance), motion)
    seen[:, 2] = torch.nan
    seen[0, 2] = 1.0
    lost = smooth_points(seen, covariance)
    assert bool(lost[:, 2].isnan().all())
    assert bool(lost[:, [0, 1, 3]].isfinite().all())


def test_smoothed_tracks_are_closer_to_the_truth() -> None:
    rig, body = ring_rig(4), scattered_points(5, size=75.0)
    time = torch.arange(300, dtype=torch.float64)[:, None, None]
    tracks = body + 40 * torch.sin(time / 30 + torch.arange(3))
    uv, _ = detections(rig, tracks, noise_px=2.0, missing=0.3)
    found = triangulate(uv, rig)
    smoothed = smooth_points(found.points, found.covariance)
    raw = (found.points - tracks)[found.valid].norm(dim=-1).mean()
    assert float((smoothed - tracks)[found.valid].norm(dim=-1).mean()) < 0.6 * float(raw)
    assert bool(smoothed.isfinite().all())


@pytest.mark.parametrize("num_frames", [1, 2])
def test_short_recordings(num_frames: int) -> None:
    points = draw(3, num_frames, 2, 3)
    got = smooth_points(points, torch.eye(3).double().expand(num_frames, 2, 3, 3))
    if num_frames == 2:
        torch.testing.assert_close(got, points)
    else:
        assert bool(got.isnan().all())


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"smooth_points: `covariance` must be \[4,2,3,3\]"):
        smooth_points(torch.zeros(4, 2, 3), torch.zeros(4, 2, 3))
    with pytest.raises(ValueError, match="smooth_points: `acceleration` must be above 0; got 0"):
        smooth_points(torch.zeros(4, 2, 3), torch.zeros(4, 2, 3, 3), acceleration=0)
