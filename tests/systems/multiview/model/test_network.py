"""What the model promises whatever its weights are: slots, padding, modes, rest, one view, chunks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="needs the extra `multiview`")

from refkp.systems.multiview.model.network import Estimate, MultiviewModel, reference_slot
from refkp.systems.multiview.model.spec import BodyHeadSpec, CameraHeadSpec, FusionSpec
from tests.systems.multiview.model.made import given_cameras, small_model, views

KINDS = {
    "decoder": {},
    "mlp": {"body": BodyHeadSpec("mlp", dim=32)},
    "mean": {"fusion": FusionSpec("mean")},
    "concat": {"fusion": FusionSpec("concat")},
    "shared": {"camera": CameraHeadSpec("shared_with_embedding", hidden=(16,), dropout=0.0)},
    "separate limbs": {"body": BodyHeadSpec(dim=32, depth=1, heads=2, limbs="separate")},
}


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> MultiviewModel:
    return small_model(**KINDS[request.param])


def flat(estimate: Estimate) -> list[Tensor]:
    """All of an estimate that belongs to samples, then what belongs to views."""
    return [part for part in estimate.pose if part is not None] + list(estimate.cameras)


@torch.no_grad()
def test_the_order_of_the_slots_changes_nothing(model: MultiviewModel) -> None:
    images, mask, cameras = views()
    order = torch.tensor([2, 0, 1])
    want, got = model(images, mask, cameras), model(images[:, order], mask, cameras[:, order])
    for a, b in zip(want.pose, got.pose, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    for a, b in zip(want.cameras, got.cameras, strict=True):
        torch.testing.assert_close(a[:, order], b, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_padding_changes_nothing_whatever_stands_there(model: MultiviewModel) -> None:
    images, mask, cameras = views()
    known = given_cameras()
    want = model(images, mask, cameras, known)
    junk = torch.full_like(images[:, :1], 255)
    padded_mask = torch.cat((torch.zeros_like(mask[:, :1]), mask), 1)
    nan = type(known)(*(torch.cat((torch.full_like(part[:, :1], torch.nan), part), 1) for part in known))
    got = model(
        torch.cat((junk, images), 1),
        padded_mask,
        torch.cat((torch.full_like(cameras[:, :1], -7), cameras), 1),
        nan,
    )
    for a, b in zip(want.pose, got.pose, strict=True):
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    for a, b in zip(want.cameras, got.cameras, strict=True):
        torch.testing.assert_close(a, b[:, 1:], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_sample_does_not_depend_on_the_others(model: MultiviewModel) -> None:
    images, mask, cameras = views(3)
    mask[1, 1:] = False
    whole = flat(model(images, mask, cameras))
    for sample in range(3):
        alone = flat(
            model(images[sample : sample + 1], mask[sample : sample + 1], cameras[sample : sample + 1])
        )
        for a, b in zip(alone, whole, strict=True):
            torch.testing.assert_close(a[0], b[sample], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_one_view_is_the_same_path(model: MultiviewModel) -> None:
    images, mask, cameras = views()
    alone = torch.zeros_like(mask)
    alone[:, 1] = True
    want = model(images[:, 1:2], mask[:, 1:2], cameras[:, 1:2])
    got = model(images, alone, cameras)
    torch.testing.assert_close(want.pose.rotations, got.pose.rotations, rtol=0, atol=1e-5)
    torch.testing.assert_close(want.pose.trans, got.pose.trans, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(want.cameras.R[:, 0], torch.eye(3).expand(2, 3, 3))
    torch.testing.assert_close(want.cameras.t, torch.zeros(2, 1, 3))


@torch.no_grad()
def test_a_joint_is_where_its_token_is() -> None:
    """One token of a 4 x 4 grid is what joint 5 is sought by: the joint is in its middle; others are anywhere."""
    model, (images, mask, cameras) = small_model(), views()
    features, found = model.features, torch.zeros(2, 3, 16, model.features.dim)
    found[..., 6, :] = torch.randn(model.features.dim)  # row 1, column 2
    features._encoded = lambda _: found  # type: ignore[method-assign]
    norm, linear = features.sought
    torch.nn.init.zeros_(linear.weight)
    linear.weight[5] = norm(found[0, 0, 6])
    mask[1, 2] = False
    places = model(images, mask, cameras).places
    assert places is not None
    torch.testing.assert_close(places[mask][:, 5], torch.tensor([20.0, 12.0]).expand(5, 2))
    torch.testing.assert_close(places[mask][:, 4], torch.tensor([16.0, 16.0]).expand(5, 2))
    assert not places[1, 2].any()


@torch.no_grad()
def test_two_inputs_are_two_bodies(model: MultiviewModel) -> None:
    pose = model(*views()).pose
    assert float((pose.rotations[0] - pose.rotations[1]).abs().max()) > 1e-4


@torch.no_grad()
def test_the_reference_view_is_the_frame_of_all(model: MultiviewModel) -> None:
    images, mask, cameras = views()
    mask[1, 0] = False
    assert reference_slot(
        torch.tensor([[3, 1, 0], [0, 3, 1]]), torch.tensor([[True] * 3, [False, True, True]])
    ).tolist() == [2, 2]
    estimate = model(images, mask, cameras)
    for sample, slot in ((0, 0), (1, 1)):
        torch.testing.assert_close(estimate.cameras.R[sample, slot], torch.eye(3))
        assert float(estimate.cameras.t[sample, slot].abs().max()) == 0
    eye = torch.eye(3).expand(2, 3, 3, 3)
    torch.testing.assert_close(estimate.cameras.R @ estimate.cameras.R.mT, eye, rtol=0, atol=1e-5)


@torch.no_grad()
def test_given_cameras_are_kept_and_change_the_body(model: MultiviewModel) -> None:
    images, mask, cameras = views()
    known = given_cameras()
    some = torch.tensor([[True, True, False], [False, False, False]])
    estimate = model(images, mask, cameras, known, some)
    for own, told in zip(estimate.cameras, known, strict=True):
        torch.testing.assert_close(own[some], told[some])
        assert float((own[0, 2] - told[0, 2]).abs().max()) > 1e-3
    free = model(images, mask, cameras)
    torch.testing.assert_close(estimate.pose.rotations[1], free.pose.rotations[1], rtol=0, atol=1e-5)
    assert float((estimate.pose.rotations[0] - free.pose.rotations[0]).abs().max()) > 1e-5
    others = known._replace(t=2 * known.t)
    again = model(images, mask, cameras, others).pose.rotations
    assert float((again - model(images, mask, cameras, known).pose.rotations).abs().max()) > 1e-5


@torch.no_grad()
def test_zeroed_heads_give_the_body_at_rest(model: MultiviewModel) -> None:
    """The original started from a matrix that is no rotation."""
    for layer in (model.body_head.correction, *(head[-1] for head in model.camera_head.networks)):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    pose = model(*views()).pose
    torch.testing.assert_close(pose.rotations, torch.eye(3).expand_as(pose.rotations), rtol=0, atol=0)
    assert pose.betas is not None
    assert float(pose.betas.abs().max()) == 0
    torch.testing.assert_close(pose.trans, torch.tensor([0.0, 0.0, 2.0]).expand(2, 3))
    if not model.camera_head.shared:  # the mean rig, told from the reference view
        mean = model.prior.R[torch.tensor([0, 1, 3])]
        want = (mean @ mean[0].mT).expand(2, 3, 3, 3)
        torch.testing.assert_close(model(*views()).cameras.R, want, rtol=0, atol=1e-5)


def test_a_camera_head_learns_of_its_own_view_alone() -> None:
    model = small_model()
    images, mask, cameras = views()
    estimate = model(images, mask, cameras)
    gradients = torch.autograd.grad(
        estimate.cameras.K[:, 1].sum(),
        [next(head.parameters()) for head in model.camera_head.networks]
        + [model.body_head.correction.weight],
        allow_unused=True,
    )
    sizes = [0.0 if grad is None else float(grad.abs().sum()) for grad in gradients]
    assert sizes[1] > 0
    assert sizes[0] == sizes[2] == sizes[3] == sizes[4] == 0


@pytest.mark.parametrize(
    "options", [{"chunk_size": 2}, {"recompute": True}, {"chunk_size": 4, "recompute": True}]
)
def test_chunks_and_recomputing_change_no_number(options: dict[str, int]) -> None:
    results = []
    for changed in ({}, options):
        model = small_model(**changed).train()
        estimate = model(*views())
        loss = estimate.pose.rotations.square().sum() + estimate.pose.trans.sum()
        parameters = [p for p in model.features.parameters() if p.requires_grad]
        results.append(torch.autograd.grad(loss, parameters, allow_unused=True))
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_too_many_cameras_are_an_error() -> None:
    images, mask, cameras = views()
    with pytest.raises(ValueError, match=r"`camera_indices` must be below max_cameras = 4; got 5\. Raise"):
        small_model()(images, mask, cameras + 2)


def test_components_need_a_body_that_has_them() -> None:
    with pytest.raises(
        ValueError, match="'ignore' or 'separate' for a body without components; got components"
    ):
        small_model(body=BodyHeadSpec(limbs="components"))
