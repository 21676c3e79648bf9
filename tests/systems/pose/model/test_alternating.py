"""Joint and local attention of a query and its templates."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from refkp.geometry.sphere import random_rotation
from refkp.nn.rope2d import grid_positions
from refkp.systems.pose.model.alternating import AlternatingAttention
from refkp.systems.pose.model.position import template_code
from refkp.systems.pose.model.spec import AttentionSpec
from refkp.systems.pose.model.tokens import Tokens
from refkp.systems.pose.templates.selection import view_directions

GRID, DIM, HEADS = (4, 4), 24, 2
PLACES = grid_positions(GRID)


def module(**options: Any) -> AlternatingAttention:
    spec = AttentionSpec(**{"depth": 2, "window": 2, "drop_path": 0.0, **options})
    return AlternatingAttention(spec, DIM, HEADS, GRID)


def batch(templates: int = 3) -> Tokens:
    return Tokens(torch.randn(2, 16, DIM), torch.randn(2, templates, 17, DIM))


def changed(tokens: Tensor, item: tuple[int, ...]) -> Tensor:
    other = tokens.clone()
    other[item] += torch.randn(DIM)  # a constant would vanish in the normalisation
    return other


def differs(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().amax(-1) > 1e-6


def test_query_and_templates_read_each_other() -> None:
    net, tokens = module(depth=1), batch()
    before = net(tokens, PLACES)
    of_template = net(tokens._replace(templates=changed(tokens.templates, (0, 1, 3))), PLACES)
    assert differs(of_template.query, before.query)[0].all()
    assert differs(of_template.templates, before.templates)[0].all()
    of_query = net(tokens._replace(query=changed(tokens.query, (0, 3))), PLACES)
    assert differs(of_query.templates, before.templates)[0].all()
    for other in (of_template, of_query):  # the other object of the batch sees nothing of it
        assert not differs(other.query, before.query)[1].any()
        assert not differs(other.templates, before.templates)[1].any()


def test_local_attention_stays_in_its_window() -> None:
    block, tokens = module(depth=1).blocks[0], batch()
    codes = module(depth=1)._codes(PLACES, torch.float32, None)
    local = block._local(tokens.query, codes.query_windows)
    moved = block._local(changed(tokens.query, (0, 0)), codes.query_windows)
    assert differs(moved, local)[0].nonzero()[:, 0].tolist() == [0, 1, 4, 5]
    local = block._local(tokens.templates, codes.template_windows)
    moved = block._local(changed(tokens.templates, (0, 2, 0)), codes.template_windows)
    assert differs(moved, local).nonzero().tolist() == [[0, 2, i] for i in (0, 1, 4, 5, 16)]
    moved = block._local(changed(tokens.templates, (0, 2, 16)), codes.template_windows)
    assert differs(moved, local)[0, 2].all()  # every window has a copy of the unseen token


def test_the_order_of_templates_has_no_influence() -> None:
    net, tokens, order = module(), batch(), torch.tensor([2, 0, 1])
    straight, moved = net(tokens, PLACES), net(tokens._replace(templates=tokens.templates[:, order]), PLACES)
    torch.testing.assert_close(moved.query, straight.query)
    torch.testing.assert_close(moved.templates, straight.templates[:, order])


def test_places_of_the_patches_matter() -> None:
    net, tokens = module(), batch()
    mirrored = net(tokens, PLACES.flip(0))
    assert not torch.allclose(mirrored.query, net(tokens, PLACES).query, atol=1e-3)


def test_each_item_of_a_batch_may_have_its_places() -> None:
    net, tokens = module(), batch()
    places = torch.stack((PLACES, PLACES + 3))
    both = net(tokens, places)
    for item in range(2):
        alone = net(Tokens(*(part[item : item + 1] for part in tokens)), places[item])
        torch.testing.assert_close(both.query[item], alone.query[0])
        torch.testing.assert_close(both.templates[item], alone.templates[0])


@pytest.mark.parametrize("position", ["so3", "s2rope", "s2rope_equivariant"])
def test_poses_matter_and_their_order_does_not(position: Any) -> None:
    net, tokens, order = module(position=position), batch(), torch.tensor([2, 0, 1])
    poses = torch.nn.functional.pad(random_rotation(6).unflatten(0, (2, 3)), (0, 1, 0, 1))
    reference = view_directions(poses[..., :3, :3])[:, 0]

    def run(poses: Tensor, tokens: Tokens) -> Tokens:
        # D = 12 is too small for a sphere code, so the code is made for one head of 24.
        wide = AlternatingAttention(net.spec, DIM, 1, GRID).eval()
        wide.load_state_dict(net.state_dict())
        return wide(tokens, PLACES, template_code(net.spec, DIM, GRID, poses, reference))

    straight = run(poses, tokens)
    moved = run(poses[:, order], tokens._replace(templates=tokens.templates[:, order]))
    torch.testing.assert_close(moved.query, straight.query)
    torch.testing.assert_close(moved.templates, straight.templates[:, order])
    assert not torch.allclose(run(poses[:, order], tokens).query, straight.query, atol=1e-4)


def test_drop_path_acts_in_training_alone() -> None:
    net, tokens = module(drop_path=0.5), batch()
    assert not torch.equal(net(tokens, PLACES).query, net(tokens, PLACES).query)
    net.eval()
    assert torch.equal(net(tokens, PLACES).query, net(tokens, PLACES).query)


def test_mixed_precision_stays_near() -> None:
    net, tokens = module().eval(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        half = net(tokens, PLACES)
    torch.testing.assert_close(half.query.float(), net(tokens, PLACES).query, atol=0.15, rtol=0)


def test_errors() -> None:
    with pytest.raises(
        ValueError, match=r"AlternatingAttention: `window` must be a divisor .* \(4, 4\); got 3"
    ):
        module(window=3)
    net, tokens = module(), batch()
    with pytest.raises(ValueError, match=r"`templates` must be \[B,S,T,C\] with T=17"):
        net(tokens._replace(templates=tokens.templates[:, :, 1:]), PLACES)
    with pytest.raises(ValueError, match=r"of the batch of `query`; got B=1, not 2"):
        net(tokens._replace(templates=tokens.templates[:1]), PLACES)
