"""Wrong units are noticed, and the message tells the factor."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.data.rendering import render_depth
from refkp.data.shapes import make_object
from refkp.systems.pose.templates.rendering import template_poses
from refkp.systems.pose.units import check_pose_depth, check_template_distance, check_units

MESH = make_object("box", seed=0)
POINTS = torch.from_numpy(MESH.vertices)
K = torch.tensor([[60.0, 0, 24], [0, 60, 24], [0, 0, 1]])


def pose(z: float = 700.0) -> Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[2, 3] = z
    return matrix


def depth() -> Tensor:
    return torch.from_numpy(render_depth(MESH, pose().numpy(), K.numpy(), (48, 48)))


def test_what_fits_passes() -> None:
    check_units(POINTS, pose())
    measured = depth()
    measured[0, 0] = math.nan
    check_units(POINTS, pose(), measured)
    assert check_pose_depth(measured, MESH, pose(), K) == 0
    assert check_pose_depth(measured + 4 * (measured > 0), MESH, pose(), K) == pytest.approx(4, abs=1e-3)


def test_metres_are_noticed_wherever_they_are() -> None:
    with pytest.raises(ValueError, match=r"`points`.*Times 1000"):
        check_units(POINTS / 1000, pose())
    with pytest.raises(ValueError, match=r"`cam_from_obj`.*got 0.7 mm. Times 1000"):
        check_units(POINTS, pose(0.7))
    with pytest.raises(ValueError, match=r"`cam_from_obj`.*Times 0\.001"):
        check_units(POINTS, pose(700000.0))
    with pytest.raises(ValueError, match=r"`depth`.*Times 1000"):
        check_units(POINTS, pose(), depth() / 1000)
    with pytest.raises(ValueError, match=r"`depth`.*Times 0\.1 "):
        check_units(POINTS, pose(), depth() * 10)


def test_an_inverse_pose_and_missing_depth_are_noticed() -> None:
    with pytest.raises(ValueError, match="Is it the inverse"):
        check_units(POINTS, torch.linalg.inv(pose()))
    with pytest.raises(ValueError, match="Pass None"):
        check_units(POINTS, pose(), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="at least one point"):
        check_units(POINTS[:0], pose())
    with pytest.raises(ValueError, match="`cam_from_obj` must be finite"):
        check_units(POINTS, pose() * math.nan)


@pytest.mark.parametrize("factor", [0.001, 0.1, 10.0])
def test_templates_in_another_unit_are_noticed(factor: float) -> None:
    poses = template_poses(MESH, level=0)
    check_template_distance(poses, MESH.diameter, torch.zeros(3))
    poses[:, :3, 3] *= factor
    with pytest.raises(
        ValueError, match=r"`cam_from_obj` must be at 0\.7 to 10 diameters .*Check `scale_factor`"
    ):
        check_template_distance(poses, MESH.diameter, torch.zeros(3))


def test_template_distances_are_those_of_the_object_not_of_its_origin() -> None:
    moved = replace(MESH, vertices=MESH.vertices + np.array([-900.0, 400, 2500]))
    poses, centre = template_poses(moved, level=0), torch.from_numpy(moved.centre)
    check_template_distance(poses, moved.diameter, centre)
    with pytest.raises(ValueError, match="`cam_from_obj` must be at 0"):
        check_template_distance(poses, moved.diameter / 1000, centre)
    with pytest.raises(ValueError, match="`centre` must be"):
        check_template_distance(poses, moved.diameter, torch.zeros(2))


def test_a_mesh_in_another_place_is_noticed() -> None:
    with pytest.raises(ValueError, match=r"rendered depth is 2.*times the measured"):
        check_pose_depth(depth(), MESH, pose(1400.0), K)
    with pytest.raises(ValueError, match="no pixel in common"):
        check_pose_depth(torch.zeros(48, 48), MESH, pose(), K)
