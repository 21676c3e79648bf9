"""How large the networks are, and the operations that follow. Without torch, as `views.spec`.

Multiplications and additions count as two operations; biases, normalisations, activations and softmax are
left out, as is usual. Source: spec panorama 6 (token-budget profiler).
"""

from __future__ import annotations

from dataclasses import dataclass

from refkp._checks import fail


@dataclass(frozen=True)
class EncoderSize:
    """A vision transformer; the default is SigLIP base, patch 16.

    Args:
        dim: width D.
        mlp_dim: hidden width F of the feed-forward blocks.
        layers: number of blocks.
        patch_size: side p of the square of pixels of one token.
    """

    dim: int = 768
    mlp_dim: int = 3072
    layers: int = 12
    patch_size: int = 16

    def __post_init__(self) -> None:
        _require_positive(self, ("dim", "mlp_dim", "layers", "patch_size"))

    def flops(self, tokens: int) -> int:
        """Of one view of S tokens: layers (8 S D^2 + 4 S^2 D + 4 S D F) + 6 S p^2 D.

        Four projections D x D, the scores and the weighted sum of attention, two feed-forward products, and
        the embedding of three-channel patches.
        """
        s, d = tokens, self.dim
        block = 8 * s * d * d + 4 * s * s * d + 4 * s * d * self.mlp_dim
        return self.layers * block + 6 * s * self.patch_size**2 * d


@dataclass(frozen=True)
class LanguageSize:
    """A decoder with grouped-query attention and a gated feed-forward block; the default is Qwen2.5-0.5B.

    Args:
        dim: width D.
        mlp_dim: hidden width F of the feed-forward blocks.
        layers: number of blocks.
        heads, kv_heads: attention heads of queries, and of keys and values.
        vocabulary: number of tokens that can be generated.
        text_tokens: tokens of the prompt beside the vision tokens.
    """

    dim: int = 896
    mlp_dim: int = 4864
    layers: int = 24
    heads: int = 14
    kv_heads: int = 2
    vocabulary: int = 151936
    text_tokens: int = 64

    def __post_init__(self) -> None:
        _require_positive(self, ("dim", "mlp_dim", "layers", "heads", "kv_heads", "vocabulary"))
        if self.heads % self.kv_heads:
            fail("LanguageSize", "heads", f"a multiple of `kv_heads` = {self.kv_heads}", self.heads)
        if self.text_tokens < 0:
            fail("LanguageSize", "text_tokens", "at least 0", self.text_tokens)

    def prefill_flops(self, vision_tokens: int) -> int:
        """Of reading L = vision + text tokens and predicting the first new one:
        layers (L (4 D^2 + 4 D^2 kv/heads + 6 D F) + 2 L (L + 1) D) + 2 D vocabulary.

        Projections of queries and of the output D x D, of keys and values D x (D kv / heads), three
        feed-forward products; causal attention reads L (L + 1) / 2 pairs twice.
        """
        length, d = vision_tokens + self.text_tokens, self.dim
        linear = 4 * d * d + 4 * d * d * self.kv_heads // self.heads + 6 * d * self.mlp_dim
        return self.layers * (length * linear + 2 * length * (length + 1) * d) + 2 * d * self.vocabulary


def _require_positive(size: object, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(size, name) < 1:
            fail(type(size).__name__, name, "at least 1", getattr(size, name))
