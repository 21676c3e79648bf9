"""The heads of the pose model's first revision (spec pose 1.7, 1.8)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from refkp.systems.pose.model.classifier import pair_products
from refkp.systems.pose.model.flow import PairTrunk, at_least_float32
from refkp.systems.pose.model.pairs import PatchPairs
from refkp.systems.pose.model.tokens import Tokens


class SeedClassificationHead(nn.Module):
    """Cosines of two projections over a fixed temperature: with temperature 1 a nearly flat softmax."""

    def __init__(self, dim: int, proj_dim: int, mlp_hidden_dim: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.query_proj, self.template_proj = (
            nn.Sequential(nn.Linear(dim, proj_dim), nn.LayerNorm(proj_dim)) for _ in range(2)
        )
        self.query_mlp, self.template_mlp = (
            nn.Sequential(nn.Linear(proj_dim, mlp_hidden_dim), nn.GELU(), nn.Linear(mlp_hidden_dim, proj_dim))
            for _ in range(2)
        )

    def forward(self, tokens: Tokens) -> Tensor:
        """Logits [B,S,N,N+1]."""
        query = functional.normalize(self.query_mlp(self.query_proj(tokens.query)), dim=-1)
        templates = functional.normalize(self.template_mlp(self.template_proj(tokens.templates)), dim=-1)
        return pair_products(query, templates) / self.temperature


class SeedPrediction(NamedTuple):
    """The flow of pairs of patches and a confidence in (0,1)."""

    flow: Tensor  # [...,p,p,2] in patches
    confidence: Tensor  # [...,p,p,1]


class SeedFlowHead(nn.Module):
    """Flow and sigmoid confidence of pairs of patches."""

    def __init__(self, dim: int, hidden: tuple[int, ...], patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.decoder = PairTrunk(dim, hidden)
        self.flow_predictor = nn.Linear(hidden[-1], patch_size * patch_size * 2)
        self.confidence_predictor = nn.Linear(hidden[-1], patch_size * patch_size)
        nn.init.normal_(self.flow_predictor.weight, std=1e-3)

    def forward(self, tokens: Tokens, pairs: PatchPairs) -> SeedPrediction:
        """Predictions of M pairs."""
        features = self.decoder(tokens, pairs)
        patch = (self.patch_size, self.patch_size)
        flow = at_least_float32(self.flow_predictor(features)).unflatten(-1, (*patch, 2))
        confidence = at_least_float32(self.confidence_predictor(features)).sigmoid()
        return SeedPrediction(flow, confidence.unflatten(-1, (*patch, 1)))

    def all_pairs(self, tokens: Tokens) -> SeedPrediction:
        """Predictions [B,S,N,N,...] of every pair, for tests: 118 MB per template at N = 196, p = 16."""
        batch, count = tokens.query.shape[:2]
        shape = (batch, tokens.templates.shape[1], count, count)
        every = (torch.arange(size, device=tokens.query.device) for size in shape)
        pairs = PatchPairs(*(index.flatten() for index in torch.meshgrid(*every, indexing="ij")))
        return SeedPrediction(*(part.unflatten(0, shape) for part in self(tokens, pairs)))
