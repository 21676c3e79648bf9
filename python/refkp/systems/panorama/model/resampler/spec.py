"""Which resampler: the `resampler:` section of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from refkp._checks import fail, require_choice

Kind = Literal[
    "mlp",
    "bimamba",
    "identity",
    "c_abstractor",
    "perceiver",
    "qformer",
    "spatial_pool",
    "masked_drop",
    "avg",
    "conv",
]

#: Kind -> the options that it reads, with their defaults.
DEFAULTS: dict[str, dict[str, int | float | None]] = {
    "mlp": {"depth": 3},
    "bimamba": {"depth": 4},
    "identity": {},
    "c_abstractor": {"depth": 3, "side": None},
    "perceiver": {"depth": 6, "num_latents": 64, "num_heads": 8},
    "qformer": {"depth": 6, "num_latents": 64, "num_heads": 8},
    "spatial_pool": {"side": 7},
    "masked_drop": {"keep": 0.5},
    "avg": {},
    "conv": {"depth": 2},
}
#: Kinds without parameters, which keep the feature size of the encoder.
PARAMETER_FREE = ("identity", "spatial_pool", "masked_drop", "avg")


@dataclass(frozen=True)
class ResamplerSpec:
    """Which resampler, and the options that its kind reads; None takes the kind's default.

    Token-preserving kinds: "mlp" (token-wise), "bimamba" (state space blocks in both directions; needs
    mamba_ssm), "identity", and "c_abstractor" (depthwise convolutions) without `side`. Token-reducing kinds:
    "c_abstractor" with `side`, "perceiver" and "qformer" (learned latents), "spatial_pool", "masked_drop"
    (random part in training, all in evaluation), "avg" and "conv" (one token).

    Args:
        kind: see above.
        dim: size of the output tokens; None keeps the encoder's.
        depth: number of linear layers of "mlp", of blocks otherwise.
        side: tokens per row and column of a view after pooling.
        num_latents: learned tokens per view of "perceiver" and "qformer".
        num_heads: attention heads of the same.
        keep: part of the tokens that "masked_drop" keeps in training, in (0,1].

    >>> ResamplerSpec("perceiver", depth=2).options
    {'depth': 2, 'num_latents': 64, 'num_heads': 8}
    """

    kind: Kind = "mlp"
    dim: int | None = None
    depth: int | None = None
    side: int | None = None
    num_latents: int | None = None
    num_heads: int | None = None
    keep: float | None = None

    def __post_init__(self) -> None:
        require_choice("ResamplerSpec", "kind", self.kind, tuple(DEFAULTS))
        for name in ("depth", "side", "num_latents", "num_heads", "keep"):
            value = getattr(self, name)
            if value is not None and name not in DEFAULTS[self.kind]:
                fail("ResamplerSpec", name, f"left out: kind {self.kind!r} does not read it", value)
            if value is not None and name != "keep" and value < 1:
                fail("ResamplerSpec", name, "at least 1", value)
        if self.keep is not None and not 0 < self.keep <= 1:
            fail("ResamplerSpec", "keep", "in (0,1]", self.keep)

    @property
    def preserves_tokens(self) -> bool:
        """Whether token k of the result looks where token k of the encoder looks, as overlap losses need."""
        pools = self.kind == "c_abstractor" and self.side is not None
        return self.kind in ("mlp", "bimamba", "identity", "c_abstractor") and not pools

    @property
    def options(self) -> dict[str, Any]:
        """The options that the kind reads, with its defaults filled in."""
        given = {name: getattr(self, name) for name in DEFAULTS[self.kind]}
        return {**DEFAULTS[self.kind], **{name: value for name, value in given.items() if value is not None}}
