"""Rigs: what every view sees, by one call, and the derivatives that refinement uses."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.cameras import project_with_matrix
from refkp.geometry.distortion import project_distorted
from refkp.geometry.rig import Rig, sight
from tests.support.rigs import ring_rig, scattered_points


def test_every_view_is_projected_as_a_camera_by_itself() -> None:
    rig, points = ring_rig(3), scattered_points(4)
    seen = rig.project(points)
    for view in range(3):
        camera = rig.select([view])
        want = project_distorted(points, camera.K[0], camera.R[0], camera.t[0], camera.distortion[0])
        torch.testing.assert_close(seen.uv[:, view], want.uv)
        assert torch.equal(seen.valid[:, view], want.valid)
    ideal = rig.undistort(seen.uv)
    pinhole = project_with_matrix(points, rig.projection_matrices()).uv.movedim(0, 1)
    torch.testing.assert_close(ideal.points, pinhole)


def test_centres_are_seen_at_depth_zero() -> None:
    rig = ring_rig(4)
    depth = rig.project(rig.centres()).depth.diagonal()
    torch.testing.assert_close(depth, torch.zeros(4).double(), atol=1e-9, rtol=0)
    assert rig.select(torch.tensor([True, False, True, False])).t.shape == (2, 3)
    assert rig.to(torch.float32).K.dtype == torch.float32


def test_the_derivatives_of_a_sight_are_those_of_the_projection() -> None:
    rig, (point,) = ring_rig(2), scattered_points(1)
    rig = rig._replace(K=rig.K + torch.tensor([[0.0, 7.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))  # skew
    want = torch.autograd.functional.jacobian(lambda x: rig.project(x).uv, point)
    at = sight(rig, *point[:, None].unbind(0))
    torch.testing.assert_close(torch.stack((at.u, at.v), -1)[:, 0], rig.project(point).uv)
    by_camera = torch.stack((torch.stack(at.u_by_camera, -1), torch.stack(at.v_by_camera, -1)), -2)[:, 0]
    torch.testing.assert_close(by_camera @ rig.R, want)


def test_errors() -> None:
    rig = ring_rig(3)
    with pytest.raises(ValueError, match=r"f: `rig.t` must be \[V,3\] with V=3; got \[2,3\]"):
        Rig(rig.K, rig.distortion, rig.R, rig.t[:2]).require("f")
