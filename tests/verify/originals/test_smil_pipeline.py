"""The body of the end-to-end cases: a chain of two bones by hand, and its loss point by point."""

from __future__ import annotations

import math

import pytest
import torch

from refkp.geometry.rotations import axis_angle_to_matrix
from refkp.verify.originals.smil_pipeline import SmilModel, SmilPose, masked_keypoint_loss, smil_joints

SIGN = torch.tensor([1.0, -1.0, 1.0])
# Three joints on the x axis, one vertex at each, which it follows.
PLACES = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
STRETCH = torch.tensor([1.0, 0.0, 0.0]).expand(3, 3)[..., None] * PLACES[:, :1, None]
MODEL = SmilModel(
    PLACES,
    STRETCH,
    torch.zeros(0),
    torch.eye(3),
    PLACES + 5,
    torch.eye(3),
    torch.tensor([[-1, 0, 1], [0, 1, 2]]),
)


def joints(
    pose: SmilPose, *, propagate: bool = True, static: bool = False, model: SmilModel = MODEL
) -> torch.Tensor:
    found = smil_joints(model, pose, propagate_scaling=propagate, static_joints=static, offset_sign=SIGN)
    return found[0]


def pose(**changed: torch.Tensor) -> SmilPose:
    plain = SmilPose(torch.eye(3).repeat(1, 3, 1, 1), torch.zeros(1, 1), None, None)
    return plain._replace(**changed)


def test_a_body_at_rest_stands_as_its_template_and_betas_say() -> None:
    torch.testing.assert_close(joints(pose()), PLACES)
    torch.testing.assert_close(joints(pose(betas=torch.tensor([[0.5]]))), 1.5 * PLACES)
    torch.testing.assert_close(joints(pose(), static=True), PLACES + 5)


def test_a_turn_moves_what_hangs_on_the_joint() -> None:
    turned = torch.eye(3).repeat(1, 3, 1, 1)
    turned[0, 1] = axis_angle_to_matrix(torch.tensor([0.0, 0.0, math.pi / 2]))
    want = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 2.0, 0.0]])
    torch.testing.assert_close(joints(pose(rotations=turned)), want)


def test_scales_stretch_the_next_bone_and_offsets_have_their_sign() -> None:
    log_scale = torch.zeros(1, 3, 3)
    log_scale[0, 1] = math.log(2)
    for propagate in (True, False):
        want = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [5.0, 0.0, 0.0]])
        torch.testing.assert_close(joints(pose(log_scale=log_scale), propagate=propagate), want)
    offsets = torch.zeros(1, 3, 3)
    offsets[0, 1] = torch.tensor([0.1, 0.2, 0.3])
    moved = PLACES + torch.tensor([[0.0, 0.0, 0.0], [0.1, -0.2, 0.3], [0.1, -0.2, 0.3]])
    torch.testing.assert_close(joints(pose(offsets=offsets)), moved)


def test_a_scale_is_passed_on_only_where_scales_propagate() -> None:
    model = MODEL._replace(v_template=torch.cat((PLACES, torch.tensor([[4.0, 0.0, 0.0]]))))
    model = model._replace(
        shapedirs=torch.zeros(4, 3, 1),
        weights=torch.eye(3)[[0, 1, 2, 2]],  # the new vertex hangs on the last joint, one further
        J_regressor=torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0.5, 0.5]]),
        J=PLACES,
    )
    log_scale = torch.zeros(1, 3, 3)
    log_scale[0, 1] = math.log(2)
    rest = 3.5  # of the last joint, the mean of two vertices
    for propagate, reach in ((True, 2.0), (False, 1.0)):
        end = 1 + 2 * (rest - 1)  # the bone before is stretched in both
        want = end + reach * ((3 - rest) + (4 - rest)) / 2
        found = joints(pose(log_scale=log_scale), propagate=propagate, model=model)
        assert float(found[2, 0]) == pytest.approx(want)


def test_the_loss_counts_visible_points_inside_the_picture_in_views_that_are_there() -> None:
    target = torch.tensor([[[[0.5, 0.5], [0.2, 1.2], [0.1, 0.1]], [[0.5, 0.5]] * 3]])
    estimate = target + torch.tensor([0.3, 0.4])
    visibility = torch.tensor([[[0.4, 1.0, 0.0], [1.0, 1.0, 1.0]]])
    loss = masked_keypoint_loss(estimate, target, visibility, torch.tensor([[True, False]]))
    assert float(loss) == pytest.approx(0.25 / 2, rel=1e-5)
    nothing = masked_keypoint_loss(estimate, target, visibility, torch.tensor([[False, False]]))
    assert float(nothing) == pytest.approx(1e-8)
