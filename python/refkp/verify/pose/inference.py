"""Adapters of inference: matches from logits and flow, and the points behind matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refkp.systems.pose.inference.grid import PatchGrid
from refkp.systems.pose.inference.matches import (
    classify_patches,
    coarse_matches,
    rank_templates,
    refined_matches,
    select_patches,
)
from refkp.verify.originals.lifting import crop_to_image, lift_bilinear
from refkp.verify.registry import adapter

Params = Mapping[str, Any]
Arrays = Mapping[str, Tensor]


@adapter("pose", "correspondence_builder")
def _correspondence_builder(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    """Matches of every batch item, one below the other; coordinates as in the published original (o = 0)."""
    rows, columns = params["grid"]
    grid = PatchGrid(rows, columns, params["patch"], pixel_offset=0.0)
    items = [
        _matches_of_item(b, params, grid, *tensors)
        for b, tensors in enumerate(zip(arrays["logits"], arrays["flow"], arrays["weight"], strict=True))
    ]
    values = {name: torch.cat([item[name] for item in items]) for name in items[0]}
    for name in ("template_idx", "template_score"):
        values[name] = torch.stack([item[name] for item in items])
    return values


def _matches_of_item(
    b: int, params: Params, grid: PatchGrid, logits: Tensor, flow: Tensor, weight: Tensor
) -> dict[str, Tensor]:
    classes = classify_patches(logits)
    ranking = rank_templates(classes.template_score, params["top_k_templates"])
    pairs = select_patches(classes, ranking.templates, params["top_k_patches"])
    coarse = coarse_matches(pairs, grid)
    at = (pairs.template, pairs.query)
    certain = torch.ones_like(weight[at])  # the original has no confidence beside the weight
    refined = refined_matches(pairs, flow[at], weight[at], certain, grid, min_weight=params["weight_thresh"])
    return {
        "template_idx": ranking.templates,
        "template_score": ranking.score,
        "coarse_b": torch.full_like(pairs.query, b),
        "coarse_s": pairs.template,
        "coarse_q": pairs.query,
        "coarse_t": pairs.partner,
        "coarse_score": pairs.score,
        "coarse_q_uv": coarse.query_uv,
        "coarse_t_uv": coarse.template_uv,
        "ref_b": torch.full_like(refined.template, b),
        "ref_s": refined.template,
        "ref_q_uv": refined.query_uv,
        "ref_t_uv": refined.template_uv,
        "ref_w": refined.weight,
    }


@adapter("pose", "pose_from_matches")
def _pose_from_matches(params: Params, arrays: Arrays, backend: str | None) -> dict[str, Any]:
    """3D points from one template (bilinear depth, o = 0), and query points in the full picture.

    The pose itself comes from random samples; a test judges it by the true one.
    """
    template = (arrays[name] for name in ("template_depth", "K_t", "pose_t"))
    lifted = lift_bilinear(arrays["t_uv"], *template, unit_scale=params["scale"])
    uv = crop_to_image(arrays["q_uv_crop"], arrays["crop_M"])
    return {"points_object": lifted.points, "q_uv_full": uv}
