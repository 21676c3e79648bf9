"""A decoder of one query that looks at the tokens of all views. Source: spec multiview f.3, k.

One query makes keys and values superfluous: its head h asks q_h . W_h x = (W_h^T q_h) . x of every token x, and values
are mapped after they were summed. The LayerNorm of a layer's context folds into both, so that the tokens are normalised
once for all layers and iterations and each layer reads them twice, 2 heads N D products instead of 4 heads N D D'.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refkp._checks import require_shape

_EPS = 1e-5


class SingleQueryAttention(nn.Module):
    """Attention of one query to tokens; keys and values are one projection without bias, keys first."""

    def __init__(self, dim: int, context_dim: int, heads: int, dim_head: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dim_head = heads, dim_head
        self.to_q = nn.Linear(dim, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(context_dim, 2 * heads * dim_head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * dim_head, dim), nn.Dropout(dropout))

    def forward(self, query: Tensor, context: Tensor, keys: Tensor | None, norm: nn.LayerNorm) -> Tensor:
        """Query [B,C]; context [B,N,D], normalised but for the scale and shift of `norm`; keys: bool [B,N]."""
        key_weight, value_weight = self.to_kv.weight.unflatten(0, (2, self.heads, self.dim_head)).unbind(0)
        asked = torch.einsum("bhk,hkd->bhd", self.to_q(query).unflatten(-1, (self.heads, -1)), key_weight)
        # The shift of the norm adds the same to all logits.
        logits = (asked * norm.weight) @ context.mT * self.dim_head**-0.5
        if keys is not None:
            logits = logits.masked_fill(~keys[:, None], -torch.inf)
        summed = logits.softmax(-1) @ context * norm.weight + norm.bias
        value = torch.einsum("bhd,hkd->bhk", summed, value_weight).flatten(1)
        return self.to_out(value)


class FeedForward(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dim),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """[...,dim] -> [...,dim]."""
        return self.net(tokens)


class DecoderLayer(nn.Module):
    """x += attention(LN x, LN context); x += FF(LN x), for one query of each sample."""

    def __init__(
        self, dim: int, context_dim: int, heads: int, dim_head: int, *, hidden: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1, self.norm_context, self.norm2 = (
            nn.LayerNorm(dim),
            nn.LayerNorm(context_dim),
            nn.LayerNorm(dim),
        )
        self.cross_attn = SingleQueryAttention(dim, context_dim, heads, dim_head, dropout)
        self.ff = FeedForward(dim, hidden, dropout)

    def forward(self, query: Tensor, context: Tensor, keys: Tensor | None = None) -> Tensor:
        """Query [B,C] and `normalised` context [B,N,D] -> [B,C]; keys: bool [B,N], None: all tokens are looked at."""
        require_shape("DecoderLayer", "context", context, "B,N,D", B=len(query))
        query = query + self.cross_attn(self.norm1(query), context, keys, self.norm_context)
        return query + self.ff(self.norm2(query))


def normalised(context: Tensor) -> Tensor:
    """Tokens [B,N,D] as the layers of a decoder take them: of mean 0 and variance 1, once for all layers."""
    return F.layer_norm(context, context.shape[-1:], eps=_EPS)
