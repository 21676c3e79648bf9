"""What the token features of a batch are worth: the values that training and `refkp panorama eval` report."""

from __future__ import annotations

from torch import Tensor

from refkp.systems.panorama.correspondence import CorrespondenceTable
from refkp.systems.panorama.metrics import effective_rank, feature_std, overlap_retrieval
from refkp.systems.panorama.model import VisionFeatures


def view_values(
    features: VisionFeatures, table: CorrespondenceTable, *, first_tile: int
) -> dict[str, Tensor]:
    """Retrieval, rank and spread of the tokens after the resampler ("tokens/...") and the head ("projected/...").

    `retrieval_elsewhere` asks a tile of the next panorama in the batch: what a code of the position in the
    tile earns without content. It should stay far below `retrieval`; a batch of one panorama has none.

    Args:
        features: of every view, [B,V,S,D].
        table: correspondences of the layout on their device.
        first_tile: index of the first view that is a tile.
    """
    values = {}
    for name, tokens in features._asdict().items():
        retrieval = overlap_retrieval(tokens, table)
        tiles = tokens[:, first_tile:].flatten(0, 2)
        values[f"{name}/retrieval"] = retrieval.accuracy
        values[f"{name}/effective_rank"] = effective_rank(tiles)
        values[f"{name}/std"] = feature_std(tiles)
        if len(tokens) > 1:
            elsewhere = overlap_retrieval(tokens, table, partner_features=tokens.roll(1, 0))
            values[f"{name}/retrieval_elsewhere"] = elsewhere.accuracy
        values["chance"] = retrieval.chance
    return values
