"""Multi-head attention with position codes on queries and keys; values are never turned.

The softmax runs fused (`scaled_dot_product_attention`), so that no [N,N] matrix is held.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as functional
from torch import Tensor, nn

from refkp._checks import fail

#: A position code of queries and keys, [...,h,N,D] -> the same shape; often a `Rotary`.
Code = Callable[[Tensor], Tensor]


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(D)) v of tokens with themselves: [...,N,C] -> [...,N,C].

    One Linear C -> 3C holds the rows of q, k and v in this order, each as heads * D. Source: spec pose 1.1.

    Raises:
        ValueError: `dim` is no multiple of `heads`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        require_heads("SelfAttention", dim, heads)
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, code: Code | None = None) -> Tensor:
        """Attend among tokens [...,N,C]; `code` turns queries and keys [...,h,N,D]."""
        query, key, value = (split_heads(part, self.heads) for part in self.qkv(tokens).chunk(3, -1))
        if code is not None:
            query, key = code(query), code(key)
        return self.proj(attend(query, key, value))


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Fused attention of [...,h,N,D], heads joined again: [...,N,h*D].

    mask: bool [B,h or 1,N or 1,N] for queries [B,h,N,D], the keys that are looked at, at least one; None: all.
    """
    leading = query.shape[:-3]
    # Fused kernels exist for four axes only.
    query, key, value = (part.reshape(-1, *part.shape[-3:]) for part in (query, key, value))
    joined = functional.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)
    return joined.reshape(*leading, *joined.shape[1:])


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """[...,N,h*D] -> [...,h,N,D], a view."""
    return tokens.unflatten(-1, (heads, -1)).transpose(-2, -3)


def require_heads(function: str, dim: int, heads: int) -> None:
    """Raise ValueError unless `dim` can be divided among the heads."""
    if heads < 1 or dim % heads:
        fail(function, "heads", f"a divisor of dim={dim}", heads)
