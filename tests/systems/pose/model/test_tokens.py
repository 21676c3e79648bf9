"""Learned tokens beside the patches: registers of views and tokens of objects."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from refkp.geometry.sphere import random_rotation
from refkp.nn.attention import Code
from refkp.nn.rope2d import grid_positions
from refkp.systems.pose.model.alternating import AlternatingAttention
from refkp.systems.pose.model.position import template_code
from refkp.systems.pose.model.spec import AttentionSpec, Position
from refkp.systems.pose.model.tokens import TokenManager, Tokens, without_added
from refkp.systems.pose.templates.selection import view_directions

GRID, PATCHES, DIM, HEADS = (4, 4), 16, 32, 2
PLACES = grid_positions(GRID)
SPEC = AttentionSpec(
    depth=1, window=2, drop_path=0.0, query_registers=2, template_registers=3, object_tokens=1
)
NAMES = {"query.0", "query.1", "templates.0", "templates.1", "templates.2", "object.0"}


def tokens(templates: int = 3) -> Tokens:
    return Tokens(torch.randn(2, PATCHES, DIM), torch.randn(2, templates, PATCHES + 1, DIM))


def attention(spec: AttentionSpec = SPEC) -> AlternatingAttention:
    torch.manual_seed(0)
    return AlternatingAttention(spec, DIM, HEADS, GRID)


class Recorder(nn.Module):
    """Stands for an attention and keeps the code that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[tuple[int, ...], Code]] = []

    def forward(self, given: Tensor, code: Code) -> Tensor:
        self.calls.append((given.shape, code))
        return torch.zeros_like(given)


def turned(call: tuple[tuple[int, ...], Code]) -> list[bool]:
    """Which tokens of a sequence the code of a call changes; two heads of ones."""
    shape, code = call
    heads = torch.ones(*shape[:-2], HEADS, shape[-2], DIM // HEADS)
    return ((code(heads) - heads).abs().amax(-1) > 1e-6).flatten(0, -2).any(0).tolist()


@pytest.mark.parametrize("position", ["so3", "s2rope", "s2rope_equivariant", "none"])
def test_no_code_turns_an_added_token_or_unseen(position: Position) -> None:
    spec = AttentionSpec(
        depth=1, window=2, position=position, query_registers=2, template_registers=3, object_tokens=1
    )
    net, joint, local = attention(spec), Recorder(), Recorder()
    net.blocks[0].g_attn, net.blocks[0].l_attn = joint, local
    poses = nn.functional.pad(random_rotation(6).unflatten(0, (2, 3)), (0, 1, 0, 1))
    reference = view_directions(poses[..., :3, :3])[:, 0]
    net(tokens(), PLACES + 1, template_code(spec, DIM // HEADS, GRID, poses, reference))
    of_template = [position != "none"] * PATCHES + [False] * (1 + 3)
    assert turned(joint.calls[0]) == [True] * PATCHES + [False] * 2 + 3 * of_template + [False]
    of_query, of_templates = (turned(call) for call in local.calls)
    assert of_query == [True] * 4 + [False] * 2
    assert of_templates == [True] * 4 + [False] * (1 + 3)


def test_names_and_numbers() -> None:
    assert {name for name, _ in TokenManager(SPEC, DIM).named_parameters()} == NAMES
    added = {name for name in attention().state_dict() if name.startswith("added.")}
    assert added == {f"added.{name}" for name in NAMES}
    assert not any(name.startswith("added") for name in attention(AttentionSpec(window=2)).state_dict())
    assert all(parameter.dim() == 1 for parameter in TokenManager(SPEC, DIM).parameters())  # no decay
    for name in ("query_registers", "template_registers", "object_tokens"):
        with pytest.raises(ValueError, match=f"`{name}` must be 0 or more; got -1"):
            AttentionSpec(**{name: -1})  # type: ignore[arg-type]


def test_they_stand_behind_the_tokens_and_are_taken_off() -> None:
    given, manager = tokens(), TokenManager(SPEC, DIM)
    sequences = manager(given)
    assert [tuple(part.shape) for part in sequences] == [
        (2, PATCHES + 2, DIM),
        (2, 3, PATCHES + 4, DIM),
        (2, 1, DIM),
    ]
    assert torch.equal(sequences.templates[1, 2, -1], manager.templates[2])
    for got, want in zip(without_added(sequences, PATCHES), given, strict=True):
        assert torch.equal(got, want)
    nothing = TokenManager(AttentionSpec(), DIM)(given)
    assert nothing.object.shape == (2, 0, DIM)
    assert torch.equal(nothing.query, given.query)
    assert torch.equal(nothing.templates, given.templates)


@pytest.mark.parametrize("of", ["query", "templates", "object"])
def test_patches_read_them_and_gradients_reach_them(of: str) -> None:
    net, given = attention(), tokens()
    before = net(given, PLACES)
    assert [part.shape for part in before] == [part.shape for part in given]
    (before.query.square().sum() + before.templates.square().sum()).backward()
    learned = getattr(net.added, of)
    assert all(token.grad is not None and bool(token.grad.any()) for token in learned)
    with torch.no_grad():
        learned[0] += torch.randn(DIM)
    after = net(given, PLACES)
    for got, was in zip(after, before, strict=True):
        assert bool(((got - was).abs().amax(-1) > 1e-6).all())


def test_tokens_of_an_object_stay_out_of_local_attention() -> None:
    net, local = attention(), Recorder()
    net.blocks[0].l_attn = local
    net(tokens(), PLACES)
    assert [shape[-2] for shape, _ in local.calls] == [4 + 2, 4 + 1 + 3]


def test_the_order_of_templates_has_no_influence() -> None:
    net, given, order = attention(), tokens(), torch.tensor([2, 0, 1])
    straight = net(given, PLACES)
    moved = net(given._replace(templates=given.templates[:, order]), PLACES)
    torch.testing.assert_close(moved.query, straight.query)
    torch.testing.assert_close(moved.templates, straight.templates[:, order])
