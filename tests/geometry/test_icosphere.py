"""Template views: geometry of the icosphere, its stored order, and the look-at convention."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.icosphere import cam_from_obj, icosphere_views, num_icosphere_views, obj_from_cam
from refkp.geometry.rotations import rotation_angle_between


@pytest.mark.parametrize("level", [0, 1, 2])
def test_views_are_distinct_unit_vectors_closed_under_negation(level: int) -> None:
    views = icosphere_views(level)
    assert views.shape == (num_icosphere_views(level), 3)
    torch.testing.assert_close(views.norm(dim=-1), torch.ones(len(views), dtype=torch.float64))
    cosines = views @ views.T
    assert int((cosines > 1 - 1e-6).sum()) == len(views)
    assert int((cosines < -1 + 1e-9).sum()) == len(views)


def test_spacing_of_162_views() -> None:
    cosines = icosphere_views(1) @ icosphere_views(1).T
    nearest = cosines.fill_diagonal_(-1).amax(-1).acos().rad2deg()
    assert 15.85 < float(nearest.min()) < float(nearest.max()) < 16.42  # measured in spec pose 2.1


@pytest.mark.parametrize("level", [0, 1, 2])
def test_order_is_by_elevation_and_the_same_for_rounded_vertices(level: int) -> None:
    exact, rounded = icosphere_views(level), icosphere_views(level, rounded=True)
    assert float((exact - rounded).abs().max()) < 1.3e-5
    assert bool((exact[1:, 2] - exact[:-1, 2] > -1e-12).all())
    assert torch.equal(rounded, rounded.float().double())


@pytest.mark.parametrize("level", [0, 1])
def test_coarser_views_are_among_the_finer(level: int) -> None:
    coarse, fine = icosphere_views(level), icosphere_views(level + 1)
    assert bool(((coarse @ fine.T).amax(-1) > 1 - 1e-12).all())


def test_poses_are_rigid_and_inverse_to_each_other() -> None:
    positions = 1000 * icosphere_views(0)
    poses, inverses = obj_from_cam(positions), cam_from_obj(positions)
    torch.testing.assert_close(poses @ inverses, torch.eye(4, dtype=torch.float64).expand(42, 4, 4))
    torch.testing.assert_close(poses[:, :3, :3].det(), torch.ones(42, dtype=torch.float64))
    distance = torch.tensor([0.0, 0.0, 1000.0], dtype=torch.float64)
    torch.testing.assert_close(inverses[:, :3, 3], distance.expand(42, 3))


def test_neighbouring_views_differ_by_no_more_than_the_known_rotation() -> None:
    rotations = cam_from_obj(icosphere_views(1))[:, :3, :3]
    angles = rotation_angle_between(rotations[:, None], rotations[None]).rad2deg()
    nearest = angles.fill_diagonal_(360).amin(-1)
    assert 15.8 < float(nearest.min()) < float(nearest.max()) < 24.0  # measured in spec pose 2.1


def test_convention_camera_looks_at_the_object_with_its_z_axis_up() -> None:
    positions = icosphere_views(1)
    rotation = cam_from_obj(positions)[:, :3, :3]
    torch.testing.assert_close(-rotation[:, 2], positions)  # object -> camera is minus the third row
    up_in_camera = rotation[:, :, 2]
    assert bool((up_in_camera[1:-1, 1] < 0).all())  # image y points down
    torch.testing.assert_close(up_in_camera[:, 0], torch.zeros(162, dtype=torch.float64))


def test_convention_poles_use_the_y_axis() -> None:
    top = obj_from_cam(torch.tensor([0.0, 0.0, 2.0]))
    torch.testing.assert_close(top[:3, 0], torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(top[:3, 2], torch.tensor([0.0, 0.0, -1.0]))


def test_gradcheck() -> None:
    positions = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cam_from_obj, positions)


def test_errors() -> None:
    with pytest.raises(ValueError, match="`level` must be >= 0; got -1"):
        icosphere_views(-1)
    with pytest.raises(ValueError, match=r"obj_from_cam: `positions` must be \[...,3\]; got \[4\]"):
        obj_from_cam(torch.ones(4))
