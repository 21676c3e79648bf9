"""The rotary code of a grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("hypothesis", reason="needs the extra `dev`")

from hypothesis import given
from hypothesis import strategies as st

from refkp.nn.attention import SelfAttention
from refkp.nn.rope2d import grid_positions, grid_rotary, rope2d


def by_pairs(tokens: Tensor, positions: Tensor, base: float) -> Tensor:
    """The definition, pair after pair, for tokens [N,D]."""
    out, quarter = tokens.clone(), tokens.shape[-1] // 4
    for axis in (0, 1):
        for k in range(quarter):
            a, b = 2 * quarter * axis + k, 2 * quarter * axis + k + quarter
            angle = positions[:, axis].double() * base ** (-k / quarter)
            out[:, a] = tokens[:, a] * angle.cos() - tokens[:, b] * angle.sin()
            out[:, b] = tokens[:, b] * angle.cos() + tokens[:, a] * angle.sin()
    return out


@pytest.mark.parametrize("base", [100.0, 10.0])
@pytest.mark.parametrize("head_dim", [4, 20, 64])
def test_definition(head_dim: int, base: float) -> None:
    tokens, positions = torch.randn(2, 3, 7, head_dim).double(), torch.randint(-3, 30, (7, 2))
    got = rope2d(tokens, positions, base=base)
    for part, turned in zip(tokens.flatten(0, 1), got.flatten(0, 1), strict=True):
        torch.testing.assert_close(turned, by_pairs(part, positions, base))


@given(st.integers(-20, 20), st.integers(-20, 20))
def test_products_depend_on_the_difference_alone(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 9, 8).double().unbind(0)
    positions = grid_positions((3, 3))
    moved = positions + torch.tensor((rows, columns))
    products = rope2d(query, positions) @ rope2d(key, positions).mT
    torch.testing.assert_close(rope2d(query, moved) @ rope2d(key, moved).mT, products)


def test_scale_minus_one_undoes() -> None:
    tokens, positions = torch.randn(2, 6, 8), grid_positions((2, 3))
    torch.testing.assert_close(rope2d(rope2d(tokens, positions), positions, scale=-1.0), tokens)
    assert not torch.allclose(rope2d(tokens, positions), tokens, atol=0.1)


def test_any_strides_and_nothing_in_place() -> None:
    storage = torch.randn(2, 6, 3, 8)  # [B,N,h,D] as attention holds it
    before, positions = storage.clone(), grid_positions((2, 3))
    got = rope2d(storage.transpose(1, 2), positions)
    torch.testing.assert_close(got, rope2d(storage.transpose(1, 2).contiguous(), positions), rtol=0, atol=0)
    assert torch.equal(storage, before)


def test_each_batch_item_has_its_positions() -> None:
    tokens, positions = torch.randn(2, 3, 5, 8), torch.randint(0, 9, (2, 5, 2))
    for item in range(2):
        want = rope2d(tokens[item], positions[item])
        torch.testing.assert_close(rope2d(tokens, positions)[item], want)


def test_masked_tokens_stay() -> None:
    tokens, mask = (
        torch.randn(2, 3, 4, 8),
        torch.tensor([[True, True, False, True], [False, True, True, True]]),
    )
    turned = grid_rotary(grid_positions((2, 2)).expand(2, -1, -1) + 1, 8, mask=mask)(tokens)
    stays = (turned == tokens).all(-1).all(1)
    assert torch.equal(stays, ~mask)


def test_attention_does_not_see_where_masked_tokens_are() -> None:
    attention, tokens, mask = (
        SelfAttention(16, 2),
        torch.randn(1, 4, 16),
        torch.tensor([True, False, True, True]),
    )
    positions = grid_positions((2, 2))
    straight = attention(tokens, grid_rotary(positions, 8, mask=mask))
    for item, same in ((1, True), (2, False)):
        moved = positions.clone()
        moved[item] += 7
        got = attention(tokens, grid_rotary(moved, 8, mask=mask))
        assert torch.equal(got, straight) == same


def test_gradient() -> None:
    tokens = torch.randn(2, 4, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: rope2d(t, grid_positions((2, 2))), (tokens,))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"D a multiple of 4; got D=6"):
        rope2d(torch.zeros(1, 4, 6), grid_positions((2, 2)))
    with pytest.raises(ValueError, match=r"`positions` must be \[...,N,2\]"):
        rope2d(torch.zeros(1, 4, 8), torch.zeros(4, 3))
