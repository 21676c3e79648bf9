"""Adapters of the model: stitching of views, fusion with the text, position ids."""

from __future__ import annotations

import torch.nn.functional as functional

from refkp.systems.panorama.model.fusion import language_fuse
from refkp.systems.panorama.model.position import panorope_ids
from refkp.systems.panorama.model.stitching import stitch_views
from refkp.verify.gradients import leaf, projected_gradients
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("panorama", "panorope_ids")
def panorope(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Position ids of several rings of views."""
    return {
        name: panorope_ids(ring["V"], (ring["H"], ring["W"]), ring["ov"], wrap=ring["wrap"])
        for name, ring in params.items()
    }


@adapter("panorama", "view_stitch")
def view_stitch(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Projected tokens stitched in both ways."""
    features = leaf(arrays["features"])
    views, grid = features.unflatten(0, (params["B"], params["V"])), (params["H"], params["W"])
    tokens = functional.linear(views, arrays["weight"], arrays["bias"])
    outputs = {
        "concat": stitch_views(tokens, grid, "concat"),
        "stride_views": stitch_views(tokens, grid, "stride_views", params["overlap_ratio"]),
    }
    values: Values = {f"out_{mode}": out for mode, out in outputs.items()}
    for mode, out in outputs.items():
        values |= projected_gradients([(out, arrays.get(f"proj_{mode}"))], {f"grad_{mode}": features})
    return values


@adapter("panorama", "language_fuse")
def fuse(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Vision tokens in a batch of texts."""
    input_ids = arrays["input_ids"]
    fused = language_fuse(
        input_ids,
        functional.embedding(input_ids, arrays["embedding"]),
        arrays["vision_tokens"],
        params["vision_id"],
        attention_mask=arrays.get("attention_mask"),
        pad_id=params["pad_id"],
        labels=arrays.get("labels"),
        missing=params["fallback"],
    )
    return {
        "inputs_embeds": fused.inputs_embeds,
        "out_attention": fused.attention_mask,
        "out_labels": fused.labels,
    }
