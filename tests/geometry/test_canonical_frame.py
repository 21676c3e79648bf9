"""The canonical frame: other coordinates, the same pictures."""

from __future__ import annotations

import pytest
import torch

from refkp.geometry.cameras import project, pytorch3d_camera
from refkp.geometry.canonical_frame import canonical_frame
from tests.geometry.test_cameras import Scene, scene

__all__ = ["scene"]  # the fixture


@pytest.mark.parametrize("pytorch3d", [False, True])
def test_every_view_sees_the_same(scene: Scene, pytorch3d: bool) -> None:
    moved = canonical_frame(scene.R, scene.t, scene.points, pytorch3d=pytorch3d)
    before = project(scene.points, scene.K, scene.R, scene.t)
    after = project(moved.points, scene.K, moved.R, moved.t)
    torch.testing.assert_close(after.uv, before.uv)
    torch.testing.assert_close(after.depth, before.depth)


def test_convention_the_anchor_is_the_identity_of_the_axes_asked_for(scene: Scene) -> None:
    identity, zero = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    plain = canonical_frame(scene.R, scene.t, scene.points)
    torch.testing.assert_close(plain.R[0], identity)
    torch.testing.assert_close(plain.t[0], zero)
    turned = canonical_frame(scene.R, scene.t, scene.points, anchor=2, pytorch3d=True)
    camera = pytorch3d_camera(scene.K, turned.R, turned.t, scene.image_size)
    torch.testing.assert_close(camera.R[2], identity)
    torch.testing.assert_close(camera.T[2], zero)


def test_what_is_not_there_stays_as_it_was(scene: Scene) -> None:
    mask = torch.tensor([False, True, True])
    valid = torch.tensor([True, False, True, True, True, True, True])
    points = scene.points.clone()
    points[2] = 0.0  # a real point in the origin is moved like any other
    moved = canonical_frame(scene.R, scene.t, points, view_mask=mask, valid=valid)
    assert int(moved.anchor) == 1
    assert torch.equal(moved.R[0], scene.R[0])
    assert torch.equal(moved.t[0], scene.t[0])
    assert torch.equal(moved.points[1], points[1])
    torch.testing.assert_close(moved.points[2], scene.t[1])


def test_samples_of_a_batch_have_their_own_anchors(scene: Scene) -> None:
    masks = torch.tensor([[True, True, True], [False, False, True]])
    R, t, points = (tensor.expand(2, *tensor.shape) for tensor in (scene.R, scene.t, scene.points))
    batch = canonical_frame(R, t, points, view_mask=masks)
    assert batch.anchor.tolist() == [0, 2]
    for sample, mask in enumerate(masks):
        alone = canonical_frame(scene.R, scene.t, scene.points, view_mask=mask)
        for got, want in zip(batch, alone, strict=True):
            torch.testing.assert_close(got[sample], want)


def test_gradcheck_and_errors(scene: Scene) -> None:
    inputs = [tensor.clone().requires_grad_() for tensor in (scene.R, scene.t, scene.points)]
    assert torch.autograd.gradcheck(lambda *tensors: canonical_frame(*tensors)[:3], inputs)
    nothing = torch.zeros(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="canonical_frame: `view_mask` must be true for the anchor"):
        canonical_frame(scene.R, scene.t, scene.points, view_mask=nothing)
