"""The flow inside a pair of patches that match: where in the query patch each pixel of the template patch lies."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from refkp.nn.init import init_transformer
from refkp.nn.mlp import hidden_layers
from refkp.systems.pose.model.pairs import PatchPairs
from refkp.systems.pose.model.spec import FlowSpec
from refkp.systems.pose.model.tokens import Tokens


class PairPrediction(NamedTuple):
    """The flow of M pairs of patches and how sure it is."""

    flow: Tensor  # [M,p,p,2] x and y in patches
    scale: Tensor  # [M,p,p], b of a Laplace distribution per pixel, in patches


def flow_confidence(scale: Tensor) -> Tensor:
    """The probability that a flow is right to half a patch along both axes: (1 - exp(-1 / (2 b)))^2.

    That is what the Laplace distribution of scale b, one for both axes, says: 1 - exp(-r / b) is the probability of
    an error below r. Half a patch off, a pixel would lie in another patch than the one it was paired with.

    Args:
        scale: [...] b in patches, above 0; infinite where nothing is known.

    Returns:
        [...] in [0,1], falling with the scale.

    Source: spec pose 1.8 and 4.2, for the scale; the first revision had a head of its own for a confidence.

    >>> flow_confidence(torch.tensor([0.01, 0.5, torch.inf]))
    tensor([1.0000, 0.3996, 0.0000])
    """
    return torch.expm1(-0.5 / scale).square()


class PairTrunk(nn.Module):
    """Hidden layers on [query token | template token] of each pair.

    The first Linear is a sum, W [q|t] = Wq q + Wt t: every token is projected once, and a pair costs one addition.
    The tokens are gathered inside the graph, so that gradients reach them.
    """

    def __init__(self, dim: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.first = nn.Linear(2 * dim, hidden[0])
        self.rest = nn.Sequential(nn.LayerNorm(hidden[0]), nn.GELU(), *hidden_layers(hidden))

    def forward(self, tokens: Tokens, pairs: PatchPairs) -> Tensor:
        """Features [M,hidden[-1]] of the pairs."""
        for_query, for_template = self.first.weight.chunk(2, -1)
        query = functional.linear(tokens.query, for_query, self.first.bias)
        templates = functional.linear(tokens.templates, for_template)
        return self.rest(query[pairs.b, pairs.query] + templates[pairs.b, pairs.s, pairs.template])


class FlowHead(nn.Module):
    """Flow and scale of pairs of patches; flows start near 0.

    scale = softplus(Linear) + min_scale. Source: spec pose 1.8.
    """

    def __init__(self, spec: FlowSpec, dim: int, patch_size: int) -> None:
        super().__init__()
        self.spec, self.patch_size = spec, patch_size
        self.backbone = PairTrunk(dim, spec.hidden)
        self.flow_head = nn.Linear(spec.hidden[-1], patch_size * patch_size * 2)
        self.b_head = nn.Linear(spec.hidden[-1], patch_size * patch_size)
        self.apply(init_transformer)
        nn.init.normal_(self.flow_head.weight, std=1e-3)

    def forward(self, tokens: Tokens, pairs: PatchPairs) -> PairPrediction:
        """Flow of the pairs, in at least float32."""
        features = self.backbone(tokens, pairs)
        patch = (self.patch_size, self.patch_size)
        flow = at_least_float32(self.flow_head(features)).unflatten(-1, (*patch, 2))
        raw = at_least_float32(self.b_head(features)).unflatten(-1, patch)
        return PairPrediction(flow, functional.softplus(raw) + self.spec.min_scale)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision as float32, the rest as it is: what losses and solvers read."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
