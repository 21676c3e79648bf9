"""The whole model on small images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.geometry.sphere import random_rotation
from refkp.systems.pose.model.pairs import PatchPairs, pairs_from_labels
from refkp.systems.pose.model.spec import (
    AttentionSpec,
    ClassifierSpec,
    EncoderSpec,
    FlowSpec,
    VpogSpec,
)
from refkp.systems.pose.model.tokens import Tokens
from refkp.systems.pose.model.vpog import Vpog
from refkp.systems.pose.templates.selection import view_directions
from refkp.systems.pose.views import PoseBatch, Views

SPEC = VpogSpec(
    EncoderSpec(dim=32, depth=2, heads=2, patch_size=4, image_size=16),
    AttentionSpec(depth=2, window=2, drop_path=0.0),
    ClassifierSpec(hidden_dim=16, out_dim=8),
    FlowSpec(hidden=(16,)),
)
POSITIONS = ("so3", "s2rope", "s2rope_equivariant", "none")


def model(position: Any = "so3") -> Vpog:
    torch.manual_seed(0)
    return Vpog(replace(SPEC, attention=replace(SPEC.attention, position=position)))


def batch() -> PoseBatch:
    """Two objects with three templates each, of which the model reads pictures, poses and the reference."""
    poses = torch.nn.functional.pad(random_rotation(6).unflatten(0, (2, 3)), (0, 1, 0, 1))
    query, templates = (
        Views(
            torch.rand(*leading, 3, 16, 16),
            torch.ones(*leading, 16, 16),
            torch.ones(*leading, 16, 16),
            K,
            poses,
        )
        for leading, K, poses in (
            ((2,), torch.eye(3).expand(2, 3, 3), poses[:, 0]),
            ((2, 3), torch.eye(3).expand(2, 3, 3, 3), poses),
        )
    )
    return PoseBatch(
        query,
        templates,
        template_index=torch.arange(3).expand(2, 3),
        is_positive=torch.ones(2, 3, dtype=torch.bool),
        ref_direction=view_directions(poses[..., :3, :3])[:, 1].float(),
        obj_id=torch.zeros(2, dtype=torch.int64),
        diameter=torch.ones(2),
        keys=("a", "b"),
    )


def stages(net: Vpog, given: PoseBatch) -> Tokens:
    """As inference goes: each view encoded by itself."""
    poses, reference = given.templates.cam_from_obj, given.ref_direction
    return net.attend(net.encode(given.query.images), net.encode(given.templates.images), poses, reference)


PAIRS: PatchPairs = pairs_from_labels(torch.randint(-1, 17, (2, 3, 16)), 16)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
def test_forward_and_gradients(position: str, autocast: bool) -> None:
    net = model(position)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = net(batch())
        flow = net.flow(out.tokens, PAIRS)
    assert out.logits.shape == (2, 3, 16, 17)
    assert flow.flow.shape == (len(PAIRS.b), 4, 4, 2)
    assert out.tokens.templates.shape == (2, 3, 17, 32)
    assert out.logits.dtype == flow.flow.dtype == torch.float32
    (out.logits.logsumexp(-1).sum() + flow.flow.square().sum() + flow.scale.sum()).backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("term", ["logits", "flow"])
def test_every_term_trains_encoder_attention_and_the_unseen_token(term: str) -> None:
    net = model()
    out = net(batch())
    flow = net.flow(out.tokens, PAIRS)
    loss = out.logits.logsumexp(-1).sum() if term == "logits" else flow.flow.square().sum()
    loss.backward()
    for part in (net.encoder, net.attention.blocks[0]):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters() if p.dim() > 1)
    assert net.unseen.grad is not None
    assert float(net.unseen.grad.abs().sum()) > 0


def test_stages_equal_the_whole_and_leave_nothing_behind() -> None:
    net, given = model().eval(), batch()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    whole, tokens = net(given), stages(net, given)
    torch.testing.assert_close(net.classify(tokens), whole.logits)
    torch.testing.assert_close(net.flow(tokens, PAIRS), net.flow(whole.tokens, PAIRS))
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert net.grid == (4, 4)


def test_half_precision_features_can_be_kept() -> None:
    net, given = model().eval(), batch()
    query, templates = net.encode(given.query.images), net.encode(given.templates.images)
    exact = stages(net, given)
    kept = net.attend(query, templates.half(), given.templates.cam_from_obj, given.ref_direction)
    assert kept.query.dtype == torch.float32
    torch.testing.assert_close(kept.query, exact.query, atol=5e-3, rtol=0)


@pytest.mark.parametrize("position", POSITIONS)
def test_permuted_templates_permute_logits_and_leave_the_query(position: str) -> None:
    net, given = model(position).eval(), batch()
    order = torch.tensor([2, 0, 1])
    straight = net(given)
    moved = net(given._replace(templates=Views(*(part[:, order] for part in given.templates))))
    torch.testing.assert_close(moved.logits, straight.logits[:, order], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved.tokens.query, straight.tokens.query, atol=1e-4, rtol=0)


@pytest.mark.parametrize("position", ["s2rope", "s2rope_equivariant"])
def test_another_object_frame(position: str) -> None:
    """Poses and reference in another frame of the object: the equivariant code does not notice, the published does."""
    net, given = model(position).eval(), batch()
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = random_rotation(1)[0]
    straight = net(given)
    turned = given.templates._replace(cam_from_obj=given.templates.cam_from_obj @ turn)
    moved = net(given._replace(templates=turned, ref_direction=given.ref_direction @ turn[:3, :3].float()))
    change = float((moved.logits - straight.logits).detach().abs().max())
    assert (change < 1e-4) == (position == "s2rope_equivariant")


def test_pixels_are_normalised_with_the_named_statistics() -> None:
    net = model()
    mean = torch.tensor((0.485, 0.456, 0.406))[:, None, None].expand(1, 3, 16, 16)
    zero = net.encoder(torch.zeros(1, 3, 16, 16))
    torch.testing.assert_close(net.encode(mean), zero, atol=1e-5, rtol=0)
    assert not torch.allclose(net.encode(0 * mean), zero, atol=1e-3)


def test_the_same_seed_gives_the_same_model_and_output() -> None:
    def run() -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        net = Vpog(SPEC)
        out = net(batch())
        return out.logits, net.flow(out.tokens, PAIRS).flow

    first, second = run(), run()
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_errors() -> None:
    with pytest.raises(
        ValueError, match=r"`window` must be a divisor of both sides of the grid \(4, 4\); got 3"
    ):
        Vpog(replace(SPEC, attention=AttentionSpec(window=3)))
    with pytest.raises(ValueError, match="`sphere_split` must be"):
        Vpog(replace(SPEC, attention=AttentionSpec(window=2, position="s2rope", sphere_split=(7, 7, 3))))
    net, given = model(), batch()
    query, templates, poses = given.query.images, given.templates.images, given.templates.cam_from_obj
    reference = given.ref_direction
    with pytest.raises(ValueError, match=r"`images` must be \[...,3,16,16\]; got \[2,3,16,12\]"):
        net.encode(query[..., :12])
    encoded = net.encode(query), net.encode(templates)
    with pytest.raises(ValueError, match=r"`cam_from_obj` must be \[B,S,4,4\] with B=2, S=3"):
        net.attend(*encoded, poses[:, :2], reference)
    with pytest.raises(ValueError, match=r"`templates` must be \[B,S,N,C\] with B=2, N=16, C=32"):
        net.attend(encoded[0], encoded[1][:, :, 1:], poses, reference)
