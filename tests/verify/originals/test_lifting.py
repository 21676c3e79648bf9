"""Points of a template on the object as the published original takes them: bilinear depth, its units and crops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.geometry.cameras import project
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.verify.originals.lifting import crop_to_image, lift_bilinear

K = torch.tensor([[50.0, 0.0, 8.0], [0.0, 55.0, 6.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def pose() -> Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64))
    matrix[:3, 3] = torch.tensor([10.0, -20.0, 400.0])
    return matrix


def flat_depth(value: float = 400.0) -> Tensor:
    return torch.full((12, 16), value)


def pixels() -> Tensor:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    return torch.stack((x, y), dim=-1).reshape(-1, 2)


def test_lifted_points_project_back() -> None:
    depth = 400 + 20 * torch.rand(12, 16)
    lifted = lift_bilinear(pixels(), depth, K, pose())
    back, z = project(lifted.points, K, pose()[:3, :3], pose()[:3, 3])
    assert bool(lifted.valid.all())
    torch.testing.assert_close(back, pixels().double())
    torch.testing.assert_close(z, depth.reshape(-1).double())


def test_template_units_are_divided_out() -> None:
    scaled = pose()
    scaled[:3, 3] *= 10
    want = lift_bilinear(pixels(), flat_depth(), K, pose()).points
    got = lift_bilinear(pixels(), flat_depth(4000.0), K, scaled, unit_scale=10.0).points
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pixel_without_depth_is_not_valid_and_makes_no_nan(bad: float) -> None:
    depth = flat_depth()
    depth[3, 4] = bad
    lifted = lift_bilinear(torch.tensor([[4.0, 3.0], [5.0, 3.0]]), depth, K, pose())
    assert lifted.valid.tolist() == [False, True]
    assert bool(lifted.points.isfinite().all())


def test_depth_by_hand_and_clamped_at_the_border() -> None:
    depth = flat_depth()
    depth[2, 3], depth[2, 4] = 100.0, 200.0
    identity = torch.eye(4, dtype=torch.float64)
    lifted = lift_bilinear(torch.tensor([[3.25, 2.0], [-0.6, 2.5], [15.6, 11.6]]), depth, K, identity)
    assert bool(lifted.valid.all())
    torch.testing.assert_close(lifted.points[:, 2], torch.tensor([125.0, 400.0, 400.0], dtype=torch.float64))


def test_crop_to_image_undoes_the_crop() -> None:
    matrix = torch.tensor([[0.8, 0.0, -60.0], [0.0, 0.8, -30.0], [0.0, 0.0, 1.0]])
    uv = torch.rand(7, 2, dtype=torch.float64) * 500
    torch.testing.assert_close(crop_to_image(uv * 0.8 + torch.tensor([-60.0, -30.0]), matrix), uv)
