"""Points of templates on the object: exact pixels, edges, bad depth, units."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.geometry.cameras import project
from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.pose.inference.lifting import lift

K = torch.tensor([[[50.0, 0.0, 8.0], [0.0, 55.0, 6.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
ZERO = torch.tensor([0])


def pose() -> Tensor:
    matrix = torch.eye(4, dtype=torch.float64)[None].clone()
    matrix[0, :3, :3] = axis_angle_to_matrix(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64))
    matrix[0, :3, 3] = torch.tensor([10.0, -20.0, 400.0])
    return matrix


def flat_depth(value: float = 400.0) -> Tensor:
    return torch.full((1, 12, 16), value)


def centres() -> Tensor:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    return torch.stack((x, y), dim=-1).reshape(-1, 2) + 0.5


def test_lifted_points_project_back() -> None:
    depth = 400 + 20 * torch.rand(1, 12, 16)
    uv = centres()
    template = torch.zeros(len(uv), dtype=torch.int64)
    lifted = lift(uv, template, depth, K, pose())
    back, z = project(lifted.points, K[0], pose()[0, :3, :3], pose()[0, :3, 3])
    assert bool(lifted.valid.all())
    torch.testing.assert_close(back, uv.double())
    torch.testing.assert_close(z, depth.reshape(-1).double())


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_pixel_without_depth_is_not_valid_and_makes_no_nan(bad: float) -> None:
    depth = flat_depth()
    depth[0, 3, 4] = bad
    uv = torch.tensor([[4.5, 3.5], [5.5, 3.5]])
    lifted = lift(uv, torch.tensor([0, 0]), depth, K, pose())
    assert lifted.valid.tolist() == [False, True]  # beside a hole is fine, on it is not
    assert lifted.num_dropped == 1
    assert bool(lifted.points.isfinite().all())


def test_pixels_beside_a_depth_edge_are_dropped() -> None:
    depth = flat_depth()
    depth[0, :, 8:] = 500.0
    uv = torch.stack((torch.arange(16) + 0.5, torch.full((16,), 5.5)), dim=-1)
    template = torch.zeros(16, dtype=torch.int64)
    dropped = (~lift(uv, template, depth, K, pose()).valid).nonzero()[:, 0]
    assert dropped.tolist() == [7, 8]
    assert bool(lift(uv, template, depth, K, pose(), max_step_px=20.0).valid.all())


def test_a_slope_is_no_edge() -> None:
    depth = 400 + 8.0 * torch.arange(16.0).expand(1, 12, 16)  # one footprint z / fx a pixel
    uv = centres()
    assert bool(lift(uv, torch.zeros(len(uv), dtype=torch.int64), depth, K, pose()).valid.all())


def test_points_outside_the_template() -> None:
    uv = torch.tensor([[-0.1, 3.0], [16.1, 3.0], [3.0, 12.0], [0.0, 0.0]])
    template = torch.zeros(4, dtype=torch.int64)
    assert lift(uv, template, flat_depth(), K, pose()).valid.tolist() == [False, False, False, True]


def test_each_point_uses_its_own_template() -> None:
    depth = torch.cat((flat_depth(), flat_depth(800.0)))
    two = lift(
        torch.tensor([[8.5, 6.5], [8.5, 6.5]]),
        torch.tensor([1, 0]),
        depth,
        K.expand(2, 3, 3),
        pose().expand(2, 4, 4),
    )
    one = lift(torch.tensor([[8.5, 6.5]]), ZERO, flat_depth(800.0), K, pose())
    torch.testing.assert_close(two.points[0], one.points[0])
    assert float((two.points[0] - two.points[1]).norm()) > 100


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="max_step_px"):
        lift(torch.zeros(1, 2), ZERO, flat_depth(), K, pose(), max_step_px=0.0)
    with pytest.raises(ValueError, match="template"):
        lift(torch.zeros(1, 2), torch.tensor([0.0]), flat_depth(), K, pose())
    with pytest.raises(ValueError, match="cam_from_obj"):
        lift(torch.zeros(1, 2), ZERO, flat_depth(), K, pose().expand(2, 4, 4))
