"""The encoder of CroCo v2, with the parameter names of its published files (spec pose 1.1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_shape
from refkp.nn.attention import SelfAttention
from refkp.nn.init import init_transformer
from refkp.nn.mlp import Mlp
from refkp.nn.rope2d import grid_positions, grid_rotary
from refkp.nn.rotary import Rotary
from refkp.systems.pose.model.spec import EncoderSpec


class CrocoEncoder(nn.Module):
    """Normalised images to tokens, [B,3,H,W] -> [B,N,C], N = (H / p)(W / p) row after row.

    Pre-norm blocks, x += attention(norm1(x)) and x += mlp(norm2(x)), RoPE2D on queries and keys, no class token.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.patch_embed = PatchEmbedding(spec.dim, spec.patch_size)
        self.enc_blocks = nn.ModuleList(
            EncoderBlock(spec.dim, spec.heads, spec.mlp_ratio, spec.layer_norm_eps) for _ in range(spec.depth)
        )
        self.enc_norm = nn.LayerNorm(spec.dim, eps=spec.layer_norm_eps)
        self.apply(init_transformer)

    def forward(self, images: Tensor) -> Tensor:
        """The tokens of images [B,3,H,W], whose sides are multiples of the patch size."""
        *_, tokens = self.block_outputs(images)
        return self.enc_norm(tokens)

    def block_outputs(self, images: Tensor) -> Iterator[Tensor]:
        """The tokens [B,N,C] before the first block and after each block."""
        patch = self.spec.patch_size
        require_shape("CrocoEncoder", "images", images, "B,3,H,W")
        height, width = images.shape[-2:]
        if height % patch or width % patch:
            fail("CrocoEncoder", "images", f"of sides that {patch} divides", (height, width))
        tokens = self.patch_embed(images)
        positions = grid_positions((height // patch, width // patch), images.device)
        head_dim = self.spec.dim // self.spec.heads
        code = grid_rotary(positions, head_dim, base=self.spec.rope_base, dtype=angle_dtype(tokens))
        yield tokens
        for block in self.enc_blocks:
            tokens = block(tokens, code)
            yield tokens


class PatchEmbedding(nn.Module):
    """Each p x p patch to a token, by a convolution of stride p."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)
        nn.init.xavier_uniform_(self.proj.weight.view(dim, -1))

    def forward(self, images: Tensor) -> Tensor:
        """[B,3,H,W] -> [B,N,dim]."""
        return self.proj(images).flatten(2).transpose(1, 2)


class EncoderBlock(nn.Module):
    """Self attention and MLP, each after its normalisation and added to its input."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, mlp_ratio)

    def forward(self, tokens: Tensor, code: Rotary) -> Tensor:
        """Tokens [B,N,C] with the position code of their grid."""
        tokens = tokens + self.attn(self.norm1(tokens), code)
        return tokens + self.mlp(self.norm2(tokens))


def angle_dtype(tokens: Tensor) -> torch.dtype:
    """Angles in float64 for a float64 evaluation, else in float32, under mixed precision too."""
    return torch.promote_types(tokens.dtype, torch.float32)
