"""Attention against its definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refkp.nn.attention import SelfAttention


def one_head(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value


def doubled(heads: Tensor) -> Tensor:
    return 2 * heads


@pytest.mark.parametrize("leading", [(2,), (2, 3), (2, 3, 2)])
def test_self_attention(leading: tuple[int, ...]) -> None:
    module, tokens = SelfAttention(12, 3), torch.randn(*leading, 5, 12)
    parts = module.qkv(tokens).unflatten(-1, (3, 3, 4))  # q|k|v, heads, D
    heads = [one_head(*(parts[..., part, head, :] for part in range(3))) for head in range(3)]
    torch.testing.assert_close(module(tokens), module.proj(torch.cat(heads, -1)))


def test_the_code_turns_queries_and_keys_but_not_values() -> None:
    module, tokens = SelfAttention(4, 1), torch.randn(2, 5, 4)
    query, key, value = module.qkv(tokens).chunk(3, -1)
    torch.testing.assert_close(module(tokens, doubled), module.proj(one_head(2 * query, 2 * key, value)))


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"SelfAttention: `heads` must be a divisor of dim=10; got 3"):
        SelfAttention(10, 3)
    with pytest.raises(ValueError, match=r"SelfAttention: `heads` must be a divisor"):
        SelfAttention(10, 0)
