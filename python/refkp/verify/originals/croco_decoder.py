"""The decoder that CroCo v2 was trained with, and its attention from one view to another (spec pose 1.1)."""

from __future__ import annotations

from torch import Tensor, nn

from refkp.nn.attention import Code, SelfAttention, attend, require_heads, split_heads
from refkp.nn.init import init_transformer
from refkp.nn.mlp import Mlp
from refkp.nn.rope2d import grid_rotary
from refkp.nn.rotary import Rotary
from refkp.systems.pose.model.croco import angle_dtype


class CrocoDecoder(nn.Module):
    """Tokens x of one view read those of another, y."""

    def __init__(
        self,
        encoder_dim: int,
        dim: int,
        depth: int,
        heads: int,
        *,
        rope_base: float = 100.0,
        mlp_ratio: float = 4.0,
        layer_norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.head_dim, self.rope_base = dim // heads, rope_base
        self.decoder_embed = nn.Linear(encoder_dim, dim)
        self.dec_blocks = nn.ModuleList(
            DecoderBlock(dim, heads, mlp_ratio, layer_norm_eps) for _ in range(depth)
        )
        self.dec_norm = nn.LayerNorm(dim, eps=layer_norm_eps)
        self.apply(init_transformer)

    def forward(self, x: Tensor, y: Tensor, x_positions: Tensor, y_positions: Tensor) -> Tensor:
        """Decode encoder tokens x [B,N,encoder_dim] and y [B,M,encoder_dim] to [B,N,dim].

        Args:
            x, y: tokens of the two views.
            x_positions, y_positions: their rows and columns, [...,N,2] and [...,M,2].
        """
        x, y = self.decoder_embed(x), self.decoder_embed(y)
        x_code, y_code = self.code(x_positions, x), self.code(y_positions, y)
        for block in self.dec_blocks:
            x = block(x, y, x_code, y_code)
        return self.dec_norm(x)

    def code(self, positions: Tensor, tokens: Tensor) -> Rotary:
        """The position code that the blocks read, in the precision of the tokens."""
        return grid_rotary(positions, self.head_dim, base=self.rope_base, dtype=angle_dtype(tokens))


class DecoderBlock(nn.Module):
    """Self attention on x, cross attention to y, MLP: x += self(norm1(x)); x += cross(norm2(x), norm_y(y)); ..."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = SelfAttention(dim, heads)
        self.norm_y = nn.LayerNorm(dim, eps=eps)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.cross_attn = CrossAttention(dim, heads)
        self.norm3 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, mlp_ratio)

    def forward(self, x: Tensor, y: Tensor, x_code: Rotary, y_code: Rotary) -> Tensor:
        """Tokens x [B,N,C] after reading y [B,M,C]."""
        x = x + self.attn(self.norm1(x), x_code)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(y), x_code, y_code)
        return x + self.mlp(self.norm3(x))


class CrossAttention(nn.Module):
    """softmax(q k^T / sqrt(D)) v with q from one set of tokens, k and v from another (spec pose 1.1)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        require_heads("CrossAttention", dim, heads)
        self.heads = heads
        self.projq = nn.Linear(dim, dim)
        self.projk = nn.Linear(dim, dim)
        self.projv = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, tokens: Tensor, memory: Tensor, query_code: Code | None = None, key_code: Code | None = None
    ) -> Tensor:
        """Let tokens [...,N,C] read memory [...,M,C]; each side has its own position code."""
        query = split_heads(self.projq(tokens), self.heads)
        key, value = (split_heads(proj(memory), self.heads) for proj in (self.projk, self.projv))
        query = query if query_code is None else query_code(query)
        key = key if key_code is None else key_code(key)
        return self.proj(attend(query, key, value))
