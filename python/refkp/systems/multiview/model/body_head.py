"""From the features of all views to one body. Source: spec multiview f.3."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refkp.nn.mlp import hidden_layers
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.model.decoder import DecoderLayer, normalised
from refkp.systems.multiview.model.fusion import mean_of_views
from refkp.systems.multiview.model.spec import BodyHeadSpec
from refkp.systems.multiview.model.state import BodyState, rest_state

#: So small do the last layers start: the first estimate is next to the rest pose.
_GAIN = 0.01


class DecoderBodyHead(nn.Module):
    """One query, begun by the mean of the views, corrects the state of the body by what it sees in all tokens."""

    def __init__(self, spec: BodyHeadSpec, body: Body, context_dim: int) -> None:
        super().__init__()
        self.spec, self.body = spec, body
        width = rest_state(body, spec.limbs, torch.zeros(1)).flat().shape[1]
        self.state_in = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, spec.dim))
        self.query = nn.Linear(context_dim, spec.dim)
        dim_head = spec.dim // spec.heads
        self.layers = nn.ModuleList(
            DecoderLayer(
                spec.dim, context_dim, spec.heads, dim_head, hidden=2 * spec.dim, dropout=spec.dropout
            )
            for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.dim)
        self.correction = small_linear(spec.dim, width)

    def forward(self, tokens: Tensor, keys: Tensor, views: Tensor, view_mask: Tensor) -> list[BodyState]:
        """The states after each correction.

        Args:
            tokens: [B,N,D], of all views.
            keys: bool [B,N], of views that are there.
            views: [B,V,D], one feature of each.
            view_mask: bool [B,V].
        """
        keys = keys | ~keys.any(1, keepdim=True)
        context, begun = normalised(tokens), self.query(mean_of_views(views, view_mask))
        state, history = rest_state(self.body, self.spec.limbs, tokens), []
        for _ in range(self.spec.iterations):
            query = begun + self.state_in(state.flat())
            for layer in self.layers:
                query = layer(query, context, keys)
            state = state.corrected(self.correction(self.norm(query)))
            history.append(state)
        return history


class MlpBodyHead(nn.Module):
    """The mean of the views through a few layers."""

    def __init__(self, spec: BodyHeadSpec, body: Body, dim: int) -> None:
        super().__init__()
        self.spec, self.body = spec, body
        width = rest_state(body, spec.limbs, torch.zeros(1)).flat().shape[1]
        self.hidden = nn.Sequential(hidden_layers((dim, spec.dim, spec.dim)), nn.Dropout(spec.dropout))
        self.correction = small_linear(spec.dim, width)

    def forward(self, tokens: Tensor, keys: Tensor, views: Tensor, view_mask: Tensor) -> list[BodyState]:
        """Views [B,V,D] -> the one state."""
        state = rest_state(self.body, self.spec.limbs, views)
        return [state.corrected(self.correction(self.hidden(mean_of_views(views, view_mask))))]


def small_linear(inputs: int, outputs: int) -> nn.Linear:
    """A last layer that starts near 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, gain=_GAIN)
    nn.init.zeros_(layer.bias)
    return layer
