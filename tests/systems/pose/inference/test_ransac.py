"""RANSAC-PnP: exact and noisy matches, outliers, planes, and every reason for no pose."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from refkp.geometry.cameras import project
from refkp.geometry.rotations import axis_angle_to_matrix, rotation_angle_between
from refkp.systems.pose.inference.failure import EstimateFailure
from refkp.systems.pose.inference.lifting import lift
from refkp.systems.pose.inference.ransac import PnPPose, ransac_pnp
from refkp.systems.pose.inference.spec import RansacSpec
from refkp.verify.originals.lifting import crop_to_image
from tests.structure.tree import ROOT

pytest.importorskip("cv2")

K = torch.tensor([[600.0, 0.0, 320.0], [0.0, 605.0, 240.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def true_pose(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = axis_angle_to_matrix(2 * torch.randn(3, generator=generator, dtype=torch.float64))
    pose[:3, 3] = torch.tensor([15.0, -10.0, 500.0])
    return pose


def seen(points: Tensor, pose: Tensor) -> Tensor:
    return project(points, K, pose[:3, :3], pose[:3, 3]).uv


def cloud(count: int, *, thickness: float = 1.0) -> Tensor:
    points = 60 * torch.randn(count, 3, dtype=torch.float64)
    return points * torch.tensor([1.0, 1.0, thickness])


def rotation_error_deg(found: PnPPose | EstimateFailure, pose: Tensor) -> float:
    assert isinstance(found, PnPPose), found
    return math.degrees(float(rotation_angle_between(found.cam_from_obj[:3, :3], pose[:3, :3])))


@pytest.mark.parametrize("thickness", [1.0, 0.0])
@pytest.mark.parametrize("count", [4, 5, 6, 50])
def test_exact_matches_give_the_exact_pose(count: int, thickness: float) -> None:
    points, pose = cloud(count, thickness=thickness), true_pose()
    found = ransac_pnp(points, seen(points, pose), K)
    assert isinstance(found, PnPPose)
    torch.testing.assert_close(found.cam_from_obj, pose, atol=1e-4, rtol=1e-6)
    assert found.num_inliers == count


@pytest.mark.parametrize("thickness", [1.0, 0.03, 0.01, 5e-4, 0.0])
def test_outliers_are_told_apart(thickness: float) -> None:
    points, pose = cloud(200, thickness=thickness), true_pose(1)
    uv = seen(points, pose) + 0.3 * torch.randn(200, 2)
    uv[:60] += 40 * torch.randn(60, 2)
    found = ransac_pnp(points, uv, K)
    assert rotation_error_deg(found, pose) < 0.3
    assert isinstance(found, PnPPose)
    assert int(found.inliers[60:].sum()) == 140
    assert int(found.inliers[:60].sum()) < 10


def test_the_pose_turns_with_the_frame_of_the_object() -> None:
    points, pose = cloud(40), true_pose(2)
    uv = seen(points, pose) + 0.2 * torch.randn(40, 2)
    turn = axis_angle_to_matrix(torch.tensor([0.4, 1.0, -0.3], dtype=torch.float64))
    first, second = ransac_pnp(points, uv, K), ransac_pnp(points @ turn.mT, uv, K)
    assert isinstance(first, PnPPose)
    assert rotation_error_deg(second, first.cam_from_obj @ torch.block_diag(turn.mT, torch.ones(1, 1))) < 1e-2


def test_a_seed_fixes_the_result() -> None:
    points, pose = cloud(100), true_pose(3)
    uv = seen(points, pose)
    uv[:50] = 640 * torch.rand(50, 2, dtype=torch.float64)
    runs = [ransac_pnp(points, uv, K, RansacSpec(seed=7)) for _ in range(2)]
    assert isinstance(runs[0], PnPPose)
    assert isinstance(runs[1], PnPPose)
    assert torch.equal(runs[0].cam_from_obj, runs[1].cam_from_obj)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_fewer_than_four_matches_fail(count: int) -> None:
    found = ransac_pnp(torch.rand(count, 3), torch.rand(count, 2), K)
    assert isinstance(found, EstimateFailure)
    assert found.reason == "too_few_matches"
    assert f"{count} matches" in found.message


@pytest.mark.parametrize("seed", range(5))
def test_random_matches_have_no_consensus(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = 60 * torch.randn(150, 3, generator=generator)
    found = ransac_pnp(points, 224 * torch.rand(150, 2, generator=generator), K)
    assert isinstance(found, EstimateFailure), found.num_inliers
    assert found.reason == "no_consensus"


@pytest.mark.parametrize("points", [torch.rand(10, 1) * torch.tensor([1.0, 2.0, 3.0]), torch.ones(10, 3)])
def test_points_on_a_line_are_degenerate(points: Tensor) -> None:
    found = ransac_pnp(points.double(), torch.rand(10, 2), K)
    assert isinstance(found, EstimateFailure)
    assert found.reason == "degenerate"


def test_a_plane_seen_at_one_place_has_no_pose() -> None:
    """OpenCV raises on such matches."""
    generator = torch.Generator().manual_seed(0)
    points = 50 * torch.rand(30, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.0])
    K = torch.tensor([[500.0, 0.0, 112.0], [0.0, 500.0, 112.0], [0.0, 0.0, 1.0]])
    found = ransac_pnp(points, 100 + 0.5 * torch.rand(30, 2, generator=generator), K)
    assert isinstance(found, EstimateFailure)
    assert found.reason == "no_consensus"


def test_bad_numbers_are_errors() -> None:
    points, uv = cloud(10), torch.rand(10, 2)
    uv[3, 1] = torch.nan
    with pytest.raises(ValueError, match="`uv` must be finite"):
        ransac_pnp(points, uv, K)
    skewed = K.clone()
    skewed[0, 1] = 1.0
    with pytest.raises(ValueError, match="skew"):
        ransac_pnp(points, torch.rand(10, 2), skewed)
    with pytest.raises(ValueError, match="min_inliers"):
        RansacSpec(min_inliers=3)


def test_the_published_matches_give_their_pose() -> None:
    with np.load(ROOT / "golden/pose/pose_from_matches_overlap.npz") as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    t_uv, depth, K_t, pose_t = (arrays[name] for name in ("t_uv", "template_depth", "K_t", "pose_t"))
    template = torch.zeros(len(t_uv), dtype=torch.int64)
    middle = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])  # to pixel centres at +0.5
    lifted = lift(t_uv + 0.5, template, depth[None], (K_t + middle)[None], pose_t[None], max_step_px=1e9)
    uv = crop_to_image(arrays["q_uv_crop"], arrays["crop_M"])
    found = ransac_pnp(lifted.points, uv, arrays["K_q"], RansacSpec(threshold_px=8.0))
    assert isinstance(found, PnPPose)
    want = arrays["pose_q_true"]
    assert rotation_error_deg(found, want) < 1.0
    assert float((found.cam_from_obj[:3, 3] - want[:3, 3]).norm() / want[:3, 3].norm()) < 0.01
    assert abs(found.num_inliers - int(arrays["orig_num_inliers"])) <= 5
