"""Pictures of a layout on a panorama: the functions of `refkp.viz.panorama` fed from an ErpLayout."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refkp._extras import named_extras
from refkp.systems.panorama.correspondence import project_tokens
from refkp.systems.panorama.layout import ErpLayout, ViewRecord
from refkp.systems.panorama.views import ViewSet
from refkp.viz import panorama as viz

with named_extras():
    from matplotlib import colormaps
    from matplotlib.figure import Figure


def mosaic_picture(views: ViewSet) -> Figure:
    """Every view of the first panorama with its index and angles."""
    layout = views.layout
    rows = {tile.row for tile in layout.tiles}
    columns = min(len(layout.tiles) // len(rows), 6) if len(rows) > 1 else min(layout.num_views, 5)
    return viz.view_mosaic(
        [_picture(view) for view in views.pixels[0]], [_title(v) for v in layout.views], columns
    )


def outline_picture(erp: Tensor, layout: ErpLayout) -> Figure:
    """The panorama, uint8 [3,H,W], with the borders and ids of the tiles."""
    count = len(layout.tiles)
    titles, colours = (
        [str(tile.tile_id) for tile in layout.tiles],
        list(colormaps["hsv"](np.arange(count) / count)),
    )
    return viz.tile_outlines(_picture(erp), layout.rotations, layout.half_tangents, titles, colours)


def coverage_picture(erp: Tensor, layout: ErpLayout) -> Figure:
    """The panorama, uint8 [3,H,W], under the number of tiles that see each direction."""
    multiplicity = layout.multiplicity(256).numpy()
    return viz.coverage_map(_picture(erp), multiplicity, 1 - layout.coverage()[0])


def pair_picture(
    views: ViewSet, tile_a: int, tile_b: int, grid: tuple[int, int], num_lines: int = 16
) -> Figure:
    """Two tiles with the tokens that both see, and lines between the same directions."""
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


def _title(view: ViewRecord) -> str:
    if view.kind == "global":
        return f"view {view.view_index}: global"
    return f"view {view.view_index}: tile {view.tile_id}\nyaw {view.yaw_deg:g}°, pitch {view.pitch_deg:g}°"


def _picture(image: Tensor) -> NDArray[np.uint8]:
    """uint8 [3,h,w] or float [3,h,w] in [0,1], as uint8 [h,w,3]."""
    image = image if image.dtype == torch.uint8 else (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return image.permute(1, 2, 0).cpu().numpy()
