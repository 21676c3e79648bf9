"""The panorama as a whole against its tiles. Source: spec panorama 3.7."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

from refkp._checks import require_choice, require_shape
from refkp.systems.panorama.losses.terms import LossTerms

Distance = Literal["cosine", "mse"]


def global_local(global_tokens: Tensor, tile_tokens: Tensor, *, distance: Distance = "cosine") -> LossTerms:
    """Distance between the mean token of the global view and the mean of the mean tokens of the tiles.

    Args:
        global_tokens: [B,S,D].
        tile_tokens: [B,N,S',D].
        distance: "cosine": mean over the samples of 1 - cos; "mse": mean squared difference.

    Returns:
        One scalar; gradients reach both.
    """
    require_choice("global_local", "distance", distance, ("cosine", "mse"))
    require_shape("global_local", "global_tokens", global_tokens, "B,S,D")
    batch, _, dim = global_tokens.shape
    require_shape("global_local", "tile_tokens", tile_tokens, "B,N,S,D", B=batch, D=dim)
    whole, parts = global_tokens.mean(1), tile_tokens.mean((1, 2))
    if distance == "mse":
        total = functional.mse_loss(whole, parts)
    else:
        total = (1 - functional.cosine_similarity(whole, parts, dim=-1)).mean()
    return LossTerms(total, {distance: total}, f"global_local/{distance}")
