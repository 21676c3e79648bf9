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
from refkp.systems.pose.model.vpog import Vpog, VpogOutput
from refkp.systems.pose.templates.selection import view_directions

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


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    poses = torch.nn.functional.pad(random_rotation(6).unflatten(0, (2, 3)), (0, 1, 0, 1))
    reference = view_directions(poses[..., :3, :3])[:, 1].float()
    return torch.rand(2, 3, 16, 16), torch.rand(2, 3, 3, 16, 16), poses, reference


PAIRS: PatchPairs = pairs_from_labels(torch.randint(-1, 17, (2, 3, 16)), 16)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
def test_forward_and_gradients(position: str, autocast: bool) -> None:
    net = model(position)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = net(*batch(), PAIRS)
    assert out.flow is not None
    assert out.logits.shape == (2, 3, 16, 17)
    assert out.flow.flow.shape == (len(PAIRS.b), 4, 4, 2)
    assert out.tokens.templates.shape == (2, 3, 17, 32)
    assert out.logits.dtype == out.flow.flow.dtype == torch.float32
    (out.logits.logsumexp(-1).sum() + out.flow.flow.square().sum() + out.flow.scale.sum()).backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("term", ["logits", "flow"])
def test_every_term_trains_encoder_attention_and_the_unseen_token(term: str) -> None:
    net = model()
    out = net(*batch(), PAIRS)
    assert out.flow is not None
    loss = out.logits.logsumexp(-1).sum() if term == "logits" else out.flow.flow.square().sum()
    loss.backward()
    for part in (net.encoder, net.attention.blocks[0]):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters() if p.dim() > 1)
    assert net.unseen.grad is not None
    assert float(net.unseen.grad.abs().sum()) > 0


def test_stages_equal_the_whole_and_leave_nothing_behind() -> None:
    net, (query, templates, poses, reference) = model().eval(), batch()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    whole = net(query, templates, poses, reference, PAIRS)
    tokens = net.attend(net.encode(query), net.encode(templates), poses, reference)
    torch.testing.assert_close(net.classify(tokens), whole.logits)
    torch.testing.assert_close(net.flow(tokens, PAIRS), whole.flow)
    assert net(query, templates, poses, reference).flow is None
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert net.grid == (4, 4)


def test_half_precision_features_can_be_kept() -> None:
    net, (query, templates, poses, reference) = model().eval(), batch()
    encoded = net.encode(templates)
    exact = net.attend(net.encode(query), encoded, poses, reference)
    kept = net.attend(net.encode(query), encoded.half(), poses, reference)
    assert kept.query.dtype == torch.float32
    torch.testing.assert_close(kept.query, exact.query, atol=5e-3, rtol=0)


@pytest.mark.parametrize("position", POSITIONS)
def test_permuted_templates_permute_logits_and_leave_the_query(position: str) -> None:
    net, (query, templates, poses, reference) = model(position).eval(), batch()
    order = torch.tensor([2, 0, 1])
    straight = net(query, templates, poses, reference)
    moved = net(query, templates[:, order], poses[:, order], reference)
    torch.testing.assert_close(moved.logits, straight.logits[:, order], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved.tokens.query, straight.tokens.query, atol=1e-4, rtol=0)


@pytest.mark.parametrize("position", ["s2rope", "s2rope_equivariant"])
def test_another_object_frame(position: str) -> None:
    """Poses and reference in another frame of the object: the equivariant code does not notice, the published does."""
    net, (query, templates, poses, reference) = model(position).eval(), batch()
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = random_rotation(1)[0]
    straight = net(query, templates, poses, reference)
    moved = net(query, templates, poses @ turn, reference @ turn[:3, :3].float())
    change = float((moved.logits - straight.logits).detach().abs().max())
    assert (change < 1e-4) == (position == "s2rope_equivariant")


def test_pixels_are_normalised_with_the_named_statistics() -> None:
    net = model()
    mean = torch.tensor((0.485, 0.456, 0.406))[:, None, None].expand(1, 3, 16, 16)
    zero = net.encoder(torch.zeros(1, 3, 16, 16))
    torch.testing.assert_close(net.encode(mean), zero, atol=1e-5, rtol=0)
    assert not torch.allclose(net.encode(0 * mean), zero, atol=1e-3)


def test_the_same_seed_gives_the_same_model_and_output() -> None:
    def run() -> VpogOutput:
        torch.manual_seed(3)
        return Vpog(SPEC)(*batch(), PAIRS)

    first, second = run(), run()
    assert torch.equal(first.logits, second.logits)
    assert first.flow is not None
    assert second.flow is not None
    assert torch.equal(first.flow.flow, second.flow.flow)


def test_errors() -> None:
    with pytest.raises(
        ValueError, match=r"`window` must be a divisor of both sides of the grid \(4, 4\); got 3"
    ):
        Vpog(replace(SPEC, attention=AttentionSpec(window=3)))
    with pytest.raises(ValueError, match="`sphere_split` must be"):
        Vpog(replace(SPEC, attention=AttentionSpec(window=2, position="s2rope", sphere_split=(7, 7, 3))))
    net, (query, templates, poses, reference) = model(), batch()
    with pytest.raises(ValueError, match=r"`images` must be \[...,3,16,16\]; got \[2,3,16,12\]"):
        net.encode(query[..., :12])
    encoded = net.encode(query), net.encode(templates)
    with pytest.raises(ValueError, match=r"`cam_from_obj` must be \[B,S,4,4\] with B=2, S=3"):
        net.attend(*encoded, poses[:, :2], reference)
    with pytest.raises(ValueError, match=r"`templates` must be \[B,S,N,C\] with B=2, N=16, C=32"):
        net.attend(encoded[0], encoded[1][:, :, 1:], poses, reference)
