"""What the token features of a batch are worth: the values that training and `refkp panorama eval` report."""

from __future__ import annotations

from torch import Tensor

from refkp.systems.panorama.metrics.views import view_metrics
from refkp.systems.panorama.model.vision import VisionFeatures
from refkp.systems.panorama.overlaps.correspondence import CorrespondenceTable
from refkp.systems.panorama.views.layout import ErpLayout


def view_values(features: VisionFeatures, table: CorrespondenceTable, layout: ErpLayout) -> dict[str, Tensor]:
    """`view_metrics` after the resampler ("tokens/...") and after the head ("projected/..."), and their chance.

    Args:
        features: of every view, [B,V,S,D].
        table: correspondences of the layout on their device.
        layout: the views.
    """
    values = {}
    for kind, tokens in features._asdict().items():
        metrics = view_metrics(tokens, table, layout)
        values["chance"] = metrics.pop("chance")
        values |= {f"{kind}/{name}": value for name, value in metrics.items()}
    return values
