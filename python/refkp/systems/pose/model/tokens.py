"""The tokens of a query and its templates, and those that are learned and added to them. Source: spec pose 1.6."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from refkp.systems.pose.model.spec import AttentionSpec


class Tokens(NamedTuple):
    """The tokens of a query and of its templates."""

    query: Tensor  # [B,N,C]
    templates: Tensor  # [B,S,N+1,C], the last one stands for "not seen in this template"


class Sequences(NamedTuple):
    """The tokens inside the attention, with those that nothing reads afterwards: registers and tokens of the object."""

    query: Tensor  # [B,N+Q,C], registers last
    templates: Tensor  # [B,S,N+1+R,C], registers last
    object: Tensor  # [B,O,C], of an object as a whole


class TokenManager(nn.Module):
    """Learned tokens that stand beside patches: registers of each view, and tokens of each object.

    Every view begins with the same registers and every object with the same tokens: a new object has none that
    were learned for it, and theirs become its own as they read its views. They have no place in a picture, so no
    position code turns them; where they stand for nothing that is asked, they are taken off again.

    Args:
        spec: how many.
        dim: C.
    """

    def __init__(self, spec: AttentionSpec, dim: int) -> None:
        super().__init__()
        self.query = _learned(spec.query_registers, dim)
        self.templates = _learned(spec.template_registers, dim)
        self.object = _learned(spec.object_tokens, dim)

    def forward(self, tokens: Tokens) -> Sequences:
        """The tokens [B,N,C] and [B,S,N+1,C] with the learned ones behind them."""
        query, templates = tokens
        return Sequences(
            torch.cat((query, *_copies(self.query, query.shape[:1])), -2),
            torch.cat((templates, *_copies(self.templates, templates.shape[:2])), -2),
            torch.cat((query[:, :0], *_copies(self.object, query.shape[:1])), -2),
        )


def without_added(sequences: Sequences, num_patches: int) -> Tokens:
    """The patches, and the "not seen" of each template, alone."""
    return Tokens(sequences.query[:, :num_patches], sequences.templates[:, :, : num_patches + 1])


def _learned(count: int, dim: int) -> nn.ParameterList:
    """Vectors, which weight decay leaves alone."""
    tokens = nn.ParameterList(torch.empty(dim) for _ in range(count))
    for token in tokens:
        nn.init.trunc_normal_(token, std=0.02)
    return tokens


def _copies(learned: nn.ParameterList, leading: torch.Size) -> list[Tensor]:
    return [token.expand(*leading, 1, -1) for token in learned]
