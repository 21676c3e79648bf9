"""The OpenCV loop finds the points that ours finds, and not better."""

from __future__ import annotations

import pytest

from refkp.geometry.triangulation import triangulate
from refkp.peers.triangulation import opencv_ransac
from tests.support.rigs import detections, ring_rig, scattered_points

pytest.importorskip("cv2")


def test_the_loop_of_opencv_finds_the_points() -> None:
    rig, points = ring_rig(5), scattered_points(60)
    uv, _ = detections(rig, points, noise_px=0.5, missing=0.2, wrong=0.1)
    theirs, ours = opencv_ransac(uv, rig), triangulate(uv, rig)
    both = ours.valid & theirs.isfinite().all(-1)
    assert float(both.double().mean()) > 0.9
    errors = [float((found - points)[both].norm(dim=-1).mean()) for found in (ours.points, theirs)]
    assert errors[0] < errors[1] < 3 * errors[0]


def test_a_point_of_one_view_is_none() -> None:
    rig, points = ring_rig(3), scattered_points(2)
    uv, _ = detections(rig, points, noise_px=0.0)
    uv[0, 1:] = float("nan")
    found = opencv_ransac(uv, rig)
    assert bool(found[0].isnan().all())
    assert float((found[1] - points[1]).norm()) < 0.1
