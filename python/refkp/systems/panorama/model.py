"""The vision stage of the panorama model: encoder, resampler, VICReg head (spec panorama 4.1, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from refkp.systems.panorama.correspondence import require_grid
from refkp.systems.panorama.encoders import EncoderSpec, VisionEncoder
from refkp.systems.panorama.heads import VICRegHead
from refkp.systems.panorama.resampler import ResamplerSpec, build_resampler


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
    """Token features of every view, S = Gh * Gw."""

    tokens: Tensor  # [B,V,S,D], after the resampler: what later stages read
    projected: Tensor  # [B,V,S,Dh], after the head: what the loss compares


class VisionStage(nn.Module):
    """Views in [0,1] to token features."""

    def __init__(self, spec: VisionStageSpec) -> None:
        super().__init__()
        self.encoder = VisionEncoder(spec.encoder)
        self.resampler, dim = build_resampler(spec.resampler, self.encoder.dim)
        self.head = VICRegHead(dim, dim if spec.head_dim is None else spec.head_dim, spec.head_dropout)

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens per view, rows and columns."""
        return self.encoder.grid

    def forward(self, views: Tensor) -> VisionFeatures:
        """Features of views [B,V,3,size,size] in [0,1]; ValueError when the tokens do not fill the grid."""
        tokens = self.resampler(self.encoder(views))
        require_grid("VisionStage", tokens.shape[2], self.grid)
        return VisionFeatures(tokens, self.head(tokens))
