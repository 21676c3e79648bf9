"""Adapter of the caption metrics."""

from __future__ import annotations

from refkp.systems.panorama.metrics.captions import caption_scores
from refkp.verify.registry import Arrays, Params, Values, adapter


@adapter("panorama", "caption_metrics")
def caption_metrics(params: Params, arrays: Arrays, backend: str | None) -> Values:
    """Scores of tokenised predictions; the references of a sample are separated by tabs."""
    references = [str(line).split("\t") for line in arrays["refs"]]
    return caption_scores([str(line) for line in arrays["pred"]], references)._asdict()
