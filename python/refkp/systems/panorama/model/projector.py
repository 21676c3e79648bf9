"""From the tokens of all views to the sequence that the language model reads.

A linear map to the size of the language model, a code of the direction in which each token looks, and the
stitching of the views to one sequence. Source: spec panorama 4.1, 6 (positional encoding), 7.8, 7.11, 7.20.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from refkp._checks import fail, require_choice, require_shape
from refkp.systems.panorama.model.position import (
    SphericalPosition,
    flat_views,
    sees_picture,
    token_directions,
)
from refkp.systems.panorama.model.resampler import ViewTokens
from refkp.systems.panorama.model.stitching import blend_grid, stitch_order
from refkp.systems.panorama.views.layout import ErpLayout

Stitching = Literal["views", "concat", "stride_views", "resample"]


@dataclass(frozen=True)
class ProjectorSpec:
    """How view tokens become the vision part of the language model's input.

    The tokens of the global view come first, as those of any view that is no tile; the stitching orders the
    tokens of the tiles.

    Args:
        stitching: "views" (tile after tile), "concat" (by row, tile, column), "stride_views" ("concat"
            without the columns that repeat the tile before), "resample" (tiles blended on one ERP grid). All
            but "views" need a resampler whose tokens form a grid, and "concat" and "stride_views" a layout of
            one pitch row.
        overlap: of "stride_views": part of a tile that repeats the one before.
        resample_height: of "resample": rows of the ERP grid; None takes the tiles' own resolution.
        position: "spherical" adds a code of each token's direction, "none" nothing.
        num_frequencies: of the position code.
        drop_padding: leave out the tokens of the global view that see nothing but its black border.
    """

    stitching: Stitching = "views"
    overlap: float | None = None
    resample_height: int | None = None
    position: Literal["spherical", "none"] = "spherical"
    num_frequencies: int = 6
    drop_padding: bool = True

    def __post_init__(self) -> None:
        require_choice(
            "ProjectorSpec", "stitching", self.stitching, ("views", "concat", "stride_views", "resample")
        )
        require_choice("ProjectorSpec", "position", self.position, ("spherical", "none"))
        if (self.overlap is not None) != (self.stitching == "stride_views"):
            got = f"{self.overlap} with {self.stitching!r}"
            fail("ProjectorSpec", "overlap", "given for 'stride_views' and for nothing else", got)
        if self.overlap is not None and not 0 <= self.overlap < 1:
            fail("ProjectorSpec", "overlap", "in [0,1)", self.overlap)
        if self.resample_height is not None and (self.stitching != "resample" or self.resample_height < 1):
            got = f"{self.resample_height} with {self.stitching!r}"
            fail("ProjectorSpec", "resample_height", "at least 1, for 'resample' alone", got)
        if self.num_frequencies < 0:
            fail("ProjectorSpec", "num_frequencies", "at least 0", self.num_frequencies)


class PanoramaProjector(nn.Module):
    """View tokens [B,V,S,in_dim] to a sequence [B,T,out_dim]."""

    def __init__(self, spec: ProjectorSpec, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.spec = spec
        self.linear = nn.Linear(in_dim, out_dim)
        spherical = spec.position == "spherical"
        self.position = SphericalPosition(out_dim, spec.num_frequencies) if spherical else None

    def forward(self, views: ViewTokens, layout: ErpLayout, world_from_rig: Tensor) -> Tensor:
        """Project and stitch the tokens of every view.

        Args:
            views: tokens [B,V,S,in_dim] of the views of `layout`.
            layout: the views.
            world_from_rig: [B,3,3], the rotation of all tiles of a sample.

        Returns:
            [B,T,out_dim]; gradients reach the tokens.

        Raises:
            ValueError: another number of views than the layout's, a stitching that the layout or the
                resampler does not allow.
        """
        require_shape("PanoramaProjector", "tokens", views.tokens, "B,V,S,D", V=layout.num_views)
        directions = token_directions(layout, views.boxes, world_from_rig).flatten(1, 2)
        tokens = views.tokens.flatten(1, 2)
        order = self._flat_order(views, layout)
        if self.spec.stitching != "resample":
            order = torch.cat((order, _tile_order(views, layout, self.spec.stitching, self.spec.overlap)))
        order = order.to(tokens.device)
        tokens, directions = tokens[:, order], directions[:, order]
        if self.spec.stitching == "resample":
            blended, seen = self._blend(views, layout, world_from_rig)
            tokens, directions = torch.cat((tokens, blended), 1), torch.cat((directions, seen), 1)
        projected = self.linear(tokens)
        return projected if self.position is None else projected + self.position(directions.float())

    def _flat_order(self, views: ViewTokens, layout: ErpLayout) -> Tensor:
        """The flat indices of the tokens of all views but the tiles, without padding on request."""
        kept = [torch.arange(0)]
        for view in flat_views(layout):
            seen = sees_picture(view, views.boxes)
            kept.append(view.view_index * len(seen) + (seen | (not self.spec.drop_padding)).nonzero()[:, 0])
        return torch.cat(kept)

    def _blend(self, views: ViewTokens, layout: ErpLayout, world_from_rig: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B,T,D] of the tiles on a common grid, and their directions [B,T,3]."""
        blend = blend_grid(layout, _require_grid(views, "resample"), self.spec.resample_height)
        tiles = views.tokens[:, len(flat_views(layout)) :].flatten(1, 2)
        directions = blend.directions.to(world_from_rig.device) @ world_from_rig.double().mT
        return blend.weights.to(tiles) @ tiles, directions


def _tile_order(
    views: ViewTokens,
    layout: ErpLayout,
    stitching: Literal["views", "concat", "stride_views"],
    overlap: float | None,
) -> Tensor:
    """The flat indices [T] of the tokens of the tiles, in the order of the sequence."""
    num_tiles, count = len(layout.tiles), len(views.boxes)
    if stitching == "views":
        order = torch.arange(num_tiles * count)
    else:
        _require_one_row(layout, stitching)
        grid = _require_grid(views, stitching)
        order = stitch_order(num_tiles, grid, stitching, 0.0 if overlap is None else overlap)
    return len(flat_views(layout)) * count + order


def _require_grid(views: ViewTokens, stitching: str) -> tuple[int, int]:
    if views.grid is None:
        remedy = "Use the stitching 'views', or a resampler that keeps or pools the grid."
        fail("PanoramaProjector", "tokens", f"a grid for {stitching!r}", "latents", remedy)
    return views.grid


def _require_one_row(layout: ErpLayout, stitching: str) -> None:
    rows = len({tile.row for tile in layout.tiles})
    if rows != 1:
        remedy = "Use 'views' or 'resample'."
        fail("PanoramaProjector", "layout", f"of one pitch row for {stitching!r}", f"{rows} rows", remedy)
