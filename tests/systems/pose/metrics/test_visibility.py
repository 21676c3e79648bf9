"""VSD on planes whose pixels can be counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.systems.pose.metrics.visibility import VSD_TAUS, distance_map, visible_surface, vsd

DIAMETER = 100.0


def square(left: int, distance: float) -> Tensor:
    """20 x 20 pixels with a distance, in columns left .. left + 20."""
    image = torch.zeros(40, 60)
    image[10:30, left : left + 20] = distance
    return image


def test_distances_are_along_the_ray() -> None:
    K = torch.tensor([[50.0, 0, 30], [0, 40, 20], [0, 0, 1]], dtype=torch.float64)
    depth = torch.full((40, 60), 300.0, dtype=torch.float64)
    depth[0, 0] = 0
    got = distance_map(depth, K)
    assert got[0, 0] == 0
    x, y = (59.5 - 30) / 50, (3.5 - 20) / 40
    assert got[3, 59].item() == pytest.approx(300 * (x * x + y * y + 1) ** 0.5)
    assert distance_map(depth, K, pixel_offset=0.0)[20, 30].item() == 300


def test_equal_poses_have_no_error_and_strangers_all() -> None:
    scene = square(5, 700)
    assert vsd(square(5, 700), square(5, 700), scene, DIAMETER).tolist() == [0.0] * 10
    assert vsd(square(35, 700), square(5, 700), scene, DIAMETER).tolist() == [1.0] * 10


def test_a_shift_costs_what_is_seen_in_one_pose_only() -> None:
    """Ten of twenty columns overlap: 200 pixels in both, 600 in either."""
    scene = torch.zeros(40, 60)  # unknown everywhere, so all is visible
    got = vsd(square(15, 700), square(5, 700), scene, DIAMETER)
    assert got.tolist() == pytest.approx([400 / 600] * 10)


def test_depth_counts_from_tau_on() -> None:
    """12.5 mm too near with a diameter of 100 mm: wrong for tau 0.05 and 0.1; exactly tau is wrong too."""
    scene = torch.zeros(40, 60)
    assert vsd(square(5, 687.5), square(5, 700), scene, DIAMETER).tolist() == [1.0, 1.0] + [0.0] * 8
    exact = vsd(square(5, 693.75), square(5, 700), scene, DIAMETER, taus=(0.0625, 0.07))
    assert exact.tolist() == [1.0, 0.0]


def test_occlusion_and_its_tolerance() -> None:
    occluder, truth = square(5, 680), square(5, 700)
    assert not visible_surface(occluder, truth, 15.0).any()
    assert visible_surface(occluder, truth, 20.0).sum() == 400
    # A hidden object leaves nothing to compare.
    assert vsd(truth, truth, occluder, DIAMETER).tolist() == [1.0] * len(VSD_TAUS)
    # What is visible in the true pose is visible in the estimated one, however far behind it is.
    assert vsd(square(5, 800), truth, truth, DIAMETER, taus=(0.5, 1.5)).tolist() == [1.0, 0.0]


def test_many_estimates_at_once() -> None:
    truth, scene = square(5, 700), square(5, 700)
    several = torch.stack([square(left, 700) for left in (5, 10, 35)])
    together = vsd(several, truth, scene, DIAMETER)
    for row, image in zip(together, several, strict=True):
        torch.testing.assert_close(row, vsd(image, truth, scene, DIAMETER))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="of the size of `scene`"):
        vsd(torch.zeros(3, 4), torch.zeros(40, 60), torch.zeros(40, 60), DIAMETER)
    with pytest.raises(ValueError, match="`diameter` must be positive"):
        vsd(square(5, 1), square(5, 1), square(5, 1), 0.0)
