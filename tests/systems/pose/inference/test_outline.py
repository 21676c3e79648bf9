"""The outline of an object at a pose against a mask: exact views of an ellipsoid, moved, hidden and boxed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.systems.pose.inference.bank import TemplateBank
from refkp.systems.pose.inference.outline import Outline, outline_match
from refkp.systems.pose.views import Views
from tests.systems.pose.inference.ellipsoid import SIZE, query_views, template_views


@pytest.fixture(scope="module")
def bank() -> TemplateBank:
    views = template_views()
    return TemplateBank(torch.empty(len(views.depth), 0), views.depth, views.K, views.cam_from_obj)


def match(
    bank: TemplateBank, query: Views, pose: Tensor | None = None, mask: Tensor | None = None
) -> Outline:
    pose = query.cam_from_obj if pose is None else pose
    return outline_match(bank, pose, query.K, query.masks if mask is None else mask)


@pytest.mark.parametrize("index", range(4))
def test_the_true_pose_has_the_outline_of_the_mask(bank: TemplateBank, index: int) -> None:
    found = match(bank, query_views(4).select(index))
    assert found.inside > 0.97
    assert found.filled > 0.93  # cells at the edge are wider than pixels


def test_another_pose_has_not(bank: TemplateBank) -> None:
    query = query_views(1).select(0)
    shifted, farther, turned = (query.cam_from_obj.clone() for _ in range(3))
    footprint = query.cam_from_obj[2, 3] / query.K[0, 0]
    shifted[0, 3] += SIZE / 4 * footprint
    assert match(bank, query, shifted).iou < 0.65
    farther[:3, 3] *= 1.5
    found = match(bank, query, farther)
    assert found.inside < 0.6  # the ray through the middle of the object is not that of the crop
    turned[:3, :3] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, 1.5], dtype=torch.float64)) @ turned[:3, :3]
    assert match(bank, query, turned).iou < match(bank, query).iou - 0.05


def test_what_hides_the_object_takes_from_filled_alone(bank: TemplateBank) -> None:
    query = query_views(1, seed=3).select(0)
    half = query.masks.clone()
    half[:, : SIZE // 2] = False
    found = match(bank, query, mask=half)
    assert found.inside > 0.97
    assert found.filled == pytest.approx(float(half.sum() / query.masks.sum()), abs=0.05)


def test_a_box_is_compared_with_the_box_of_the_outline(bank: TemplateBank) -> None:
    query = query_views(1, seed=2).select(0)
    box = query.masks.any(0) & query.masks.any(1)[:, None]
    assert match(bank, query, mask=box).iou > 0.9
    assert match(bank, query, mask=box).inside > 0.95 > float(query.masks.sum() / box.sum())


def test_what_lies_beyond_the_crop_is_not_in_the_mask(bank: TemplateBank) -> None:
    query = query_views(1).select(0)
    near = query.cam_from_obj.clone()
    near[:3, 3] *= 0.5
    found = match(bank, query, near)
    assert found.inside > 0.97
    assert found.filled < 0.4


def test_behind_the_camera_or_without_depth_nothing_is_covered(bank: TemplateBank) -> None:
    query = query_views(1).select(0)
    behind = query.cam_from_obj.clone()
    behind[2, 3] = -500.0
    assert match(bank, query, behind) == (0.0, 0.0)
    assert match(bank, query, behind).iou == 0.0
    assert match(bank._replace(depth=torch.zeros_like(bank.depth)), query) == (0.0, 0.0)


def test_a_sparser_view_has_no_holes(bank: TemplateBank) -> None:
    """The object seen three times as large as in the templates: its points lie three pixels apart."""
    query = query_views(1, seed=1).select(0)
    K = query.K.clone()
    K[:2] *= 3
    large = query.masks.repeat_interleave(3, 0).repeat_interleave(3, 1)
    found = outline_match(bank, query.cam_from_obj, K, large)
    assert found.inside > 0.95
    assert found.filled > 0.9
