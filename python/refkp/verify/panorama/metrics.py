"""Adapters of the metrics of the vision stage."""

from __future__ import annotations

from refkp.systems.panorama.metrics.views import effective_rank, linear_cka, position_accuracy
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("panorama", "view_metrics")
def view_metrics(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Linear CKA, effective rank, and leave-one-out position accuracy of the first eight images."""
    tiles = arrays["tiles"].unflatten(0, (params["B"], params["T"]))
    return {
        "cka": linear_cka(arrays["x"], arrays["y"]),
        "effective_rank_x": effective_rank(arrays["x"]),
        "hungarian": position_accuracy(tiles, max_samples=8),
    }
