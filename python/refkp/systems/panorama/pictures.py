"""Pictures of a layout on a panorama: the functions of `refkp.viz.panorama` fed from an ErpLayout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.systems.panorama.overlaps.correspondence import project_tokens
from refkp.systems.panorama.overlaps.pairs import TilePairs
from refkp.systems.panorama.views.layout import ErpLayout, ViewRecord
from refkp.systems.panorama.views.rendering import ViewSet
from refkp.viz import panorama as viz

with named_extras():
    from matplotlib import colormaps
    from matplotlib.figure import Figure


def mosaic_picture(views: ViewSet) -> Figure:
    """Every view of the first panorama with its index and angles."""
    _require_plain("mosaic_picture", views)
    layout = views.layout
    rows = Counter((view.kind, view.row) for view in layout.views if view.kind != "global")
    columns = min(max(rows.values()), 6) if len(rows) > 1 else min(layout.num_views, 5)
    return viz.view_mosaic(
        [_picture(view) for view in views.pixels[0]], [_title(v) for v in layout.views], columns
    )


def outline_picture(erp: Tensor, layout: ErpLayout) -> Figure:
    """The panorama, uint8 [3,H,W], with the borders of tiles and crops, and their names."""
    views = (*layout.crops, *layout.tiles)
    names = [str(view.tile_id) if view.kind == "tile" else f"view {view.view_index}" for view in views]
    colours = list(colormaps["hsv"](np.arange(len(views)) / max(len(views), 1)))
    outlines = [view.outline() for view in views]
    # Crops of one column have one centre, so their names stand at their upper edges.
    places = [replace(view, pitch_deg=view.pitch_deg + 0.42 * view.vfov_deg) if view.kind == "crop" else view
              for view in views]  # fmt: skip
    return viz.view_outlines(_picture(erp), outlines, _centres(places), names, colours)


def coverage_picture(erp: Tensor, layout: ErpLayout) -> Figure:
    """The panorama, uint8 [3,H,W], under the number of tiles and crops that see each direction."""
    multiplicity = layout.multiplicity(256).numpy()
    return viz.coverage_map(_picture(erp), multiplicity, sum(layout.coverage()[1:]))


def pair_graph_picture(erp: Tensor, layout: ErpLayout, pairs: TilePairs) -> Figure:
    """The panorama, uint8 [3,H,W], with the tiles as nodes and `pairs` as edges."""
    edges = [(int(i), int(j)) for i, j in pairs.ij]
    return viz.pair_graph(_picture(erp), _centres(layout.tiles), edges, pairs.overlap.tolist())


def pair_picture(
    views: ViewSet, tile_a: int, tile_b: int, grid: tuple[int, int], num_lines: int = 16
) -> Figure:
    """Two tiles with the tokens that both see, and lines between the same directions."""
    _require_plain("pair_picture", views)
    layout = views.layout
    order, partner = torch.tensor([tile_a, tile_b]), torch.tensor([tile_b, tile_a])
    rotation, half_tangent = layout.rotations, layout.half_tangents
    projection = project_tokens(
        rotation[order], rotation[partner], half_tangent[order], half_tangent[partner], grid
    )
    token = projection.visible[0].nonzero()
    chosen = token[torch.linspace(0, len(token) - 1, min(num_lines, len(token))).round().long()]
    row, col = (item[0][tuple(chosen.T)] for item in (projection.row, projection.col))
    records = [layout.tiles[tile] for tile in (tile_a, tile_b)]
    return viz.pair_overlay(
        [_picture(views.pixels[0, record.view_index]) for record in records],
        [_title(record) for record in records],
        grid,
        projection.visible.numpy(),
        torch.cat((chosen, row[:, None], col[:, None]), 1).numpy(),
    )


def _require_plain(function: str, views: ViewSet) -> None:
    if views.statistics is not None:
        fail(function, "views", "in [0,1]", f"views normalised by {views.statistics}")


def _centres(views: Sequence[ViewRecord]) -> Tensor:
    return torch.stack([view.forward_xyz for view in views]) if views else torch.zeros(0, 3)


def _title(view: ViewRecord) -> str:
    if view.kind == "global":
        return f"view {view.view_index}: global"
    name = f"tile {view.tile_id}" if view.kind == "tile" else view.kind
    return f"view {view.view_index}: {name}\nyaw {view.yaw_deg:.4g}°, pitch {view.pitch_deg:.4g}°"


def _picture(image: Tensor) -> NDArray[np.uint8]:
    """uint8 [3,h,w] or float [3,h,w] in [0,1], as uint8 [h,w,3]."""
    image = image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return image.permute(1, 2, 0).cpu().numpy()
