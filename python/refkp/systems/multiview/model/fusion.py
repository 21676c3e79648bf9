"""How the features of the views of an instant learn of each other. Source: spec multiview f.2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refkp.nn.attention import attend, require_heads, split_heads
from refkp.systems.multiview.model.spec import FusionSpec


class CrossViewLayer(nn.Module):
    """x += attention(LN x) over views; x += FFN(LN x): [B,V,D] -> [B,V,D]."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        require_heads("CrossViewLayer", dim, heads)
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.dropout = nn.Dropout(dropout)
        self.ffn = nn.Sequential(
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * dim, dim),
            nn.Dropout(dropout),
        )
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(projection.weight)

    def forward(self, features: Tensor, keys: Tensor) -> Tensor:
        """Features [B,V,D]; keys: bool [B,V], the views that are looked at, at least one of each sample."""
        x = self.norm1(features)
        query, key, value = (split_heads(p(x), self.heads) for p in (self.q_proj, self.k_proj, self.v_proj))
        features = features + self.dropout(self.out_proj(attend(query, key, value, keys[:, None, None])))
        return features + self.ffn(self.norm2(features))


class CrossViewAttention(nn.Module):
    """Layers of attention among the views that are there, and a LayerNorm."""

    def __init__(self, dim: int, heads: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CrossViewLayer(dim, heads, dropout) for _ in range(layers))
        self.final_norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor, view_mask: Tensor) -> Tensor:
        """Features [B,V,D] of views bool [B,V]; 0 for views that are not there."""
        keys = view_mask | ~view_mask.any(1, keepdim=True)  # a sample without views looks at what is left out
        for layer in self.layers:
            features = layer(features, keys)
        return self.final_norm(features).where(view_mask[..., None], 0.0)


class MeanOfViews(nn.Module):
    """Every view beside the mean of all, through one linear layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.joined = nn.Linear(2 * dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor, view_mask: Tensor) -> Tensor:
        """As `CrossViewAttention`."""
        mean = mean_of_views(features, view_mask)[:, None].expand_as(features)
        return self.norm(self.joined(torch.cat((features, mean), -1))).where(view_mask[..., None], 0.0)


class ConcatenatedViews(nn.Module):
    """Every view beside the features of all cameras in their order, 0 for those that are not there."""

    def __init__(self, dim: int, max_cameras: int) -> None:
        super().__init__()
        self.max_cameras = max_cameras
        self.joined = nn.Linear((1 + max_cameras) * dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor, view_mask: Tensor, camera_indices: Tensor) -> Tensor:
        """As `CrossViewAttention`; camera_indices: int64 [B,V], below `max_cameras`."""
        there = features.where(view_mask[..., None], 0.0)
        slots = features.new_zeros(len(features), self.max_cameras, features.shape[2])
        slots = slots.scatter_add(1, camera_indices[..., None].expand_as(there), there)
        rig = slots.flatten(1)[:, None].expand(-1, features.shape[1], -1)
        return self.norm(self.joined(torch.cat((features, rig), -1))).where(view_mask[..., None], 0.0)


class Fusion(nn.Module):
    """The fusion of a spec."""

    def __init__(self, spec: FusionSpec, dim: int, max_cameras: int) -> None:
        super().__init__()
        self.needs_slots = spec.kind == "concat"
        if spec.kind == "attention":
            self.network: nn.Module = CrossViewAttention(dim, spec.heads, spec.layers, spec.dropout)
        elif spec.kind == "mean":
            self.network = MeanOfViews(dim)
        else:
            self.network = ConcatenatedViews(dim, max_cameras)

    def forward(self, features: Tensor, view_mask: Tensor, camera_indices: Tensor) -> Tensor:
        """Features [B,V,D], bool [B,V], int64 [B,V] -> [B,V,D], 0 for views that are not there."""
        slots = (camera_indices,) if self.needs_slots else ()
        return self.network(features, view_mask, *slots)


def mean_of_views(features: Tensor, view_mask: Tensor) -> Tensor:
    """The mean of the views that are there, [B,D]; 0 without any."""
    there = view_mask[..., None]
    return features.where(there, 0.0).sum(1) / there.sum(1).clamp(min=1)
