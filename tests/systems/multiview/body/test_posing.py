"""Skinning: joints without vertices, the world, sizes of limbs, gradients, poses that do not fit."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from refkp.systems.multiview.body.components import limb_sizes
from refkp.systems.multiview.body.posing import BodyPose, JointsOnly, pose_body
from tests.systems.multiview.body.bodies import made_up_body, made_up_pose


@pytest.mark.parametrize("propagate", [False, True])
@pytest.mark.parametrize("posedirs", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_joints_without_vertices_are_those_of_the_body(static: bool, posedirs: bool, propagate: bool) -> None:
    body, pose = made_up_body(static=static, posedirs=posedirs), made_up_pose()
    want = pose_body(body, pose, propagate_scaling=propagate).joints
    torch.testing.assert_close(JointsOnly(body)(pose, propagate_scaling=propagate), want)


def test_fewer_shapes_than_the_body_has_are_the_first_ones() -> None:
    body, pose = made_up_body(), made_up_pose()
    fewer = pose._replace(betas=pose.betas[:, :2])
    full = pose._replace(betas=torch.cat((pose.betas[:, :2], torch.zeros(2, 1).double()), 1))
    torch.testing.assert_close(pose_body(body, fewer).vertices, pose_body(body, full).vertices)
    torch.testing.assert_close(JointsOnly(body)(fewer), JointsOnly(body)(full))


@pytest.mark.parametrize("static", [False, True])
def test_the_root_stands_at_trans_and_turns_everything_about_it(static: bool) -> None:
    """Vertices and joints alike, static or not (the original left static joints where they were)."""
    body, pose = made_up_body(static=static), made_up_pose()
    posed = pose_body(body, pose)
    torch.testing.assert_close(posed.joints[:, 0], pose.trans)
    turn = made_up_pose(seed=5).rotations[:, :1]
    turned = pose_body(
        body, pose._replace(rotations=torch.cat((turn @ pose.rotations[:, :1], pose.rotations[:, 1:]), 1))
    )
    about = lambda points: points - pose.trans[:, None]  # noqa: E731
    torch.testing.assert_close(about(turned.vertices), about(posed.vertices) @ turn[:, 0].mT)
    torch.testing.assert_close(about(turned.joints), about(posed.joints) @ turn[:, 0].mT)


def test_size_scales_about_the_root() -> None:
    body, pose = made_up_body(), made_up_pose()
    alone = pose_body(body, pose._replace(size=None))
    sized = pose_body(body, pose)
    torch.testing.assert_close(
        sized.vertices - pose.trans[:, None], (alone.vertices - pose.trans[:, None]) * pose.size[..., None]
    )


@pytest.mark.parametrize("propagate", [False, True])
def test_the_scale_of_the_root_is_nobodys(propagate: bool) -> None:
    body, pose = made_up_body(), made_up_pose()
    other = pose.log_scale.clone()
    other[:, 0] += 1
    for joints in (lambda p: pose_body(body, p, propagate_scaling=propagate).vertices,
                   lambda p: JointsOnly(body)(p, propagate_scaling=propagate)):  # fmt: skip
        torch.testing.assert_close(joints(pose._replace(log_scale=other)), joints(pose))


def test_a_scale_that_propagates_is_that_of_what_hangs_on_the_joint() -> None:
    """Joint e hangs on d: a scale of d moves e away from d, and scales the skin of e only if it goes on."""
    body = dataclasses.replace(made_up_body(static=True), posedirs=None)
    count = 1
    rest = BodyPose(torch.eye(3).double().repeat(count, 5, 1, 1), torch.zeros(count, 3).double())
    scale = torch.zeros(count, 5, 3).double()
    scale[:, 3] = 0.5
    plain = pose_body(body, rest)
    for propagate, of_e in ((True, 0.5), (False, 0.0)):
        scaled = pose_body(body, rest._replace(log_scale=scale), propagate_scaling=propagate)
        arm = plain.joints[:, 4] - plain.joints[:, 3]
        torch.testing.assert_close(
            scaled.joints[:, 4] - scaled.joints[:, 3], arm * torch.tensor(0.5).double().exp()
        )
        torch.testing.assert_close(
            scaled.frames.linear[0, 4], torch.eye(3).double() * torch.tensor(of_e).double().exp()
        )


def test_gradients_reach_all_of_the_pose() -> None:
    body, pose = made_up_body(), made_up_pose(1)
    inputs = [part.clone().requires_grad_() for part in pose]
    assert torch.autograd.gradcheck(lambda *parts: pose_body(body, BodyPose(*parts)).vertices[:, :4], inputs)
    joints = JointsOnly(body)
    assert torch.autograd.gradcheck(lambda *parts: joints(BodyPose(*parts)), inputs)


def test_betas_move_no_static_joint() -> None:
    body, pose = made_up_body(static=True), made_up_pose()
    assert pose.betas is not None
    other = pose._replace(betas=pose.betas + 1)
    torch.testing.assert_close(JointsOnly(body)(other), JointsOnly(body)(pose))
    assert float((pose_body(body, other).vertices - pose_body(body, pose).vertices).abs().max()) > 0.01


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rotations": torch.zeros(2, 4, 3, 3)}, r"`rotations` must be \[B,J,3,3\] with J=5"),
        ({"trans": torch.zeros(3, 3)}, r"`trans` must be \[B,3\] with B=2"),
        ({"betas": torch.zeros(2, 4)}, "`betas` must be of at most 3 shapes; got 4"),
        ({"offsets": torch.zeros(2, 4, 3)}, "`offsets` must be"),
    ],
)
def test_a_pose_of_another_body_is_an_error(changed: dict[str, Tensor], told: str) -> None:
    """The original took a pose with another number of joints for the rest pose."""
    body, pose = made_up_body(), made_up_pose()._replace(**changed)
    for call in (lambda: pose_body(body, pose), lambda: JointsOnly(body)(pose)):
        with pytest.raises(ValueError, match=told):
            call()


def test_components_of_limbs() -> None:
    body = made_up_body()
    assert body.scaledirs is not None
    assert body.transdirs is not None
    a, b = torch.tensor([[0.5, 0.0], [-100.0, 0.0]]).double(), torch.tensor([[0.0, 2.0], [0.0, 0.0]]).double()
    sizes = limb_sizes(body.scaledirs, body.transdirs, a, b)
    torch.testing.assert_close(sizes.log_scale[0].exp(), (1 + 0.5 * body.scaledirs[0]).clamp(min=1e-4))
    torch.testing.assert_close(sizes.offsets[0], 0.02 * body.transdirs[1])
    assert float(sizes.log_scale[1].exp().min()) == pytest.approx(1e-4)
    with pytest.raises(ValueError, match=r"`scale_weights` must be \[B,C\] with C=2"):
        limb_sizes(body.scaledirs, body.transdirs, a[:, :1], b)
