"""The vision stage of the panorama model: encoder, resampler, VICReg head (spec panorama 4.1, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from refkp._checks import fail
from refkp.nn.encoders import EncoderSpec, VisionEncoder
from refkp.systems.panorama.model.heads import VICRegHead
from refkp.systems.panorama.model.resampler import ResamplerSpec, ViewTokens, build_resampler


@dataclass(frozen=True)
class VisionStageSpec:
    """The networks of the vision stage.

    Args:
        encoder, resampler: their specs.
        head_dim: size of the features that the loss compares; None keeps the resampler's.
        head_dropout: dropout inside the head.
    """

    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    resampler: ResamplerSpec = field(default_factory=ResamplerSpec)
    head_dim: int | None = None
    head_dropout: float = 0.0


class VisionFeatures(NamedTuple):
    """Token features of every view; S = Gh * Gw with a token-preserving resampler."""

    tokens: Tensor  # [B,V,S,D], after the resampler: what later stages read
    projected: Tensor  # [B,V,S,Dh], after the head: what the loss compares


class VisionStage(nn.Module):
    """Views in [0,1] to token features."""

    def __init__(self, spec: VisionStageSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoder = VisionEncoder(spec.encoder)
        self.resampler, self.dim = build_resampler(spec.resampler, self.encoder.dim)
        self.head = VICRegHead(
            self.dim, self.dim if spec.head_dim is None else spec.head_dim, spec.head_dropout
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens per view, rows and columns, which overlap losses and metrics compare.

        Raises:
            ValueError: the resampler does not preserve the tokens.
        """
        if not self.spec.resampler.preserves_tokens:
            rule = "token-preserving where overlaps are compared"
            remedy = "Use mlp, bimamba, identity, or c_abstractor without `side`."
            fail("VisionStage", "resampler", rule, repr(self.spec.resampler.kind), remedy)
        return self.encoder.grid

    def view_tokens(self, views: Tensor) -> ViewTokens:
        """The tokens [B,V,S,D] after the resampler, and where in their view they look."""
        return self.resampler(self.encoder(views), self.encoder.grid)

    def forward(self, views: Tensor) -> VisionFeatures:
        """Features of views [B,V,3,size,size] in [0,1]."""
        tokens = self.view_tokens(views).tokens
        return VisionFeatures(tokens, self.head(tokens))
