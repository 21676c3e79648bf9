"""Resamplers map encoder tokens to the latent size of the model. Source: spec panorama 4.1.

Token k of these still looks where the encoder's token k looked, which overlap losses need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from refkp._checks import fail, require_choice


@dataclass(frozen=True)
class ResamplerSpec:
    """Which resampler.

    Args:
        kind: "mlp" (token-wise) or "identity".
        dim: size of its output tokens; None keeps the encoder's.
        depth: number of linear layers of "mlp".
    """

    kind: Literal["mlp", "identity"] = "mlp"
    dim: int | None = None
    depth: int = 3

    def __post_init__(self) -> None:
        require_choice("ResamplerSpec", "kind", self.kind, ("mlp", "identity"))
        if self.depth < 1:
            fail("ResamplerSpec", "depth", "at least 1", self.depth)


class IdentityResampler(nn.Identity):
    """The encoder's tokens as they are."""


class MLPResampler(nn.Sequential):
    """Token-wise MLP [...,in_dim] -> [...,out_dim]: Linear-LayerNorm-GELU, the last layer linear alone."""

    def __init__(self, in_dim: int, out_dim: int, depth: int) -> None:
        hidden = max(in_dim, out_dim)
        sizes = [in_dim, *[hidden] * (depth - 1)]
        layers: list[nn.Module] = []
        for size in sizes[:-1]:
            layers += [nn.Linear(size, hidden), nn.LayerNorm(hidden), nn.GELU()]
        super().__init__(*layers, nn.Linear(sizes[-1], out_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [...,in_dim] one by one."""
        return super().forward(tokens)


def build_resampler(spec: ResamplerSpec, in_dim: int) -> tuple[MLPResampler | IdentityResampler, int]:
    """The resampler of `spec` for tokens of size `in_dim`, and the size of its output tokens."""
    out_dim = in_dim if spec.dim is None else spec.dim
    if spec.kind == "mlp":
        return MLPResampler(in_dim, out_dim, spec.depth), out_dim
    if out_dim != in_dim:
        fail("build_resampler", "dim", f"{in_dim} or None for kind 'identity'", out_dim)
    return IdentityResampler(), in_dim
