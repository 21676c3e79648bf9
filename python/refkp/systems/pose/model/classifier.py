"""Which patch of a template shows what a query patch shows: scores of all pairs, and of "not seen"."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from refkp.nn.init import init_transformer
from refkp.nn.mlp import hidden_layers
from refkp.systems.pose.model.spec import ClassifierSpec
from refkp.systems.pose.model.tokens import Tokens


class ClassificationHead(nn.Module):
    """logits[b,s,i,j] = scale / temperature * cos(q(query_bi), t(template_bsj)); [B,S,N,N+1], column N is "not seen".

    q and t are projections of their own, Linear-LayerNorm-GELU layers and a Linear. The scale is learned, in
    [1e-3, 100], and starts at 1 / 0.07; the temperature is fixed. It stands here and not in a loss, so that the
    softmax of the logits is the same probability in training and in inference. Source: spec pose 1.7 and 4.1.
    """

    def __init__(self, spec: ClassifierSpec, dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.q_proj, self.t_proj = _projection(spec, dim), _projection(spec, dim)
        learned = spec.learnable_temperature
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07))) if learned else None
        self.apply(init_transformer)

    def forward(self, tokens: Tokens) -> Tensor:
        """Logits [B,S,N,N+1] of the tokens, in at least float32."""
        query, templates = self.q_proj(tokens.query), self.t_proj(tokens.templates)
        if self.spec.normalise:
            query, templates = (functional.normalize(part, dim=-1, eps=1e-12) for part in (query, templates))
        logits = pair_products(query, templates)
        if self.logit_scale is not None:
            return logits * (self.logit_scale.exp().clamp(1e-3, 100.0) / self.spec.temperature)
        size = 1.0 if self.spec.normalise else math.sqrt(self.spec.out_dim)
        return logits / (size * self.spec.temperature)


def pair_products(query: Tensor, templates: Tensor) -> Tensor:
    """<query_bi, template_bsj>, [B,N,C] and [B,S,T,C] -> [B,S,N,T], in at least float32."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        return query.to(dtype)[:, None] @ templates.to(dtype).mT


def _projection(spec: ClassifierSpec, dim: int) -> nn.Sequential:
    hidden = [spec.hidden_dim] * (spec.num_layers - 1)
    return hidden_layers((dim, *hidden)).append(nn.Linear((dim, *hidden)[-1], spec.out_dim))
