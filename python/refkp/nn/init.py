"""How layers start."""

from __future__ import annotations

from torch import nn


def init_transformer(module: nn.Module) -> None:
    """Linear layers uniform after Glorot with bias 0, LayerNorm 1 and 0: for `nn.Module.apply` (spec pose 1.1)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
