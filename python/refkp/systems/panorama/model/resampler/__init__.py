"""Resamplers map the encoder's tokens of each view to the tokens that later stages read.

Overlap losses need a token-preserving one: token k must look where the encoder's token k looked. Source: spec
panorama 4.1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from refkp._checks import fail
from refkp.systems.panorama.model.resampler.bimamba import BiMambaResampler
from refkp.systems.panorama.model.resampler.latents import PerceiverResampler, QFormerResampler
from refkp.systems.panorama.model.resampler.pointwise import IdentityResampler, MLPResampler
from refkp.systems.panorama.model.resampler.pooled import (
    CAbstractor,
    ConvResampler,
    MaskedDropResampler,
    SpatialPoolResampler,
)
from refkp.systems.panorama.model.resampler.spec import PARAMETER_FREE, ResamplerSpec
from refkp.systems.panorama.model.resampler.tokens import ViewTokens, cell_boxes

__all__ = ["ResamplerSpec", "ViewTokens", "build_resampler", "cell_boxes"]

_FREE: dict[str, Callable[..., nn.Module]] = {
    "identity": IdentityResampler,
    "avg": lambda: SpatialPoolResampler(1),
    "spatial_pool": SpatialPoolResampler,
    "masked_drop": MaskedDropResampler,
}
_LEARNED: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLPResampler,
    "bimamba": BiMambaResampler,
    "c_abstractor": CAbstractor,
    "perceiver": PerceiverResampler,
    "qformer": QFormerResampler,
    "conv": ConvResampler,
}


def build_resampler(spec: ResamplerSpec, in_dim: int) -> tuple[nn.Module, int]:
    """The resampler of `spec` for tokens of size `in_dim`, and the size of its output tokens.

    Called with tokens [...,S,in_dim] and their grid, it returns `ViewTokens`.

    Raises:
        ValueError: a `dim` other than `in_dim` for a kind without parameters, or one that `num_heads` does
            not divide.
        ImportError: "bimamba" without mamba_ssm.
    """
    out_dim = in_dim if spec.dim is None else spec.dim
    if spec.kind in PARAMETER_FREE:
        if out_dim != in_dim:
            fail("build_resampler", "dim", f"{in_dim} or None for kind {spec.kind!r}", out_dim)
        return _FREE[spec.kind](**spec.options), in_dim
    heads = spec.options.get("num_heads", 1)
    if out_dim % heads:
        fail("build_resampler", "dim", f"a multiple of the {heads} heads", out_dim)
    return _LEARNED[spec.kind](in_dim, out_dim, **spec.options), out_dim
