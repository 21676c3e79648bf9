"""What a layout costs: tokens, floating-point operations, and how much of the sphere they buy.

Source: spec panorama 4.1 (stitchings) and 6 (token-budget profiler).
"""

from __future__ import annotations

from typing import NamedTuple

from refkp._checks import fail
from refkp.systems.panorama.model.position import flat_views, sees_picture
from refkp.systems.panorama.model.resampler.tokens import cell_boxes
from refkp.systems.panorama.model.sizes import EncoderSize, LanguageSize
from refkp.systems.panorama.model.stitching import blend_grid, stitch_order
from refkp.systems.panorama.overlaps.pairs import tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.coverage import layout_report
from refkp.systems.panorama.views.layout import ErpLayout


class Budget(NamedTuple):
    """The cost of one panorama under a layout, and what it sees."""

    num_views: int
    num_tiles: int
    grid: tuple[int, int]  # tokens of a view, rows and columns
    tokens_per_view: int
    encoder_tokens: int
    padding_tokens: int  # of them, those that see nothing but the black border of the global view
    vision_tokens: dict[str, int]  # that reach the language model, by stitching
    encoder_flops: int
    prefill_flops: dict[str, int]  # by stitching
    coverage: float  # fraction of the sphere
    mean_multiplicity: float  # tiles and crops per direction, over the whole sphere
    tile_overlap: float | None  # mean shared part of neighbouring tiles, by solid angle; None: no neighbours


def token_budget(
    layout: ErpLayout,
    *,
    view_size: int = 224,
    overlap: float = 0.5,
    drop_padding: bool = True,
    encoder: EncoderSize = EncoderSize(),  # noqa: B008 (frozen)
    language: LanguageSize = LanguageSize(),  # noqa: B008 (frozen)
) -> Budget:
    """Count the tokens and operations of one panorama.

    Args:
        layout: the views.
        view_size: side of a view in pixels, a multiple of the patch size.
        overlap, drop_padding: of the projector, see `ProjectorSpec`.
        encoder, language: sizes of the networks; the resampler keeps the number of tokens.

    >>> token_budget(ErpLayout.build(), drop_padding=False).vision_tokens["stride_views"]
    1078
    """
    if view_size < 1 or view_size % encoder.patch_size:
        fail("token_budget", "view_size", f"a multiple of the patch size {encoder.patch_size}", view_size)
    side = view_size // encoder.patch_size
    tokens = side * side
    vision = vision_tokens(layout, (side, side), overlap=overlap, drop_padding=drop_padding)
    report = layout_report(layout)
    return Budget(
        num_views=layout.num_views,
        num_tiles=len(layout.tiles),
        grid=(side, side),
        tokens_per_view=tokens,
        encoder_tokens=layout.num_views * tokens,
        padding_tokens=_padding_tokens(layout, (side, side)),
        vision_tokens=vision,
        encoder_flops=layout.num_views * encoder.flops(tokens),
        prefill_flops={name: language.prefill_flops(count) for name, count in vision.items()},
        coverage=report.coverage,
        mean_multiplicity=sum(k * share for k, share in enumerate(report.multiplicity)),
        tile_overlap=_mean_overlap(layout),
    )


def vision_tokens(
    layout: ErpLayout, grid: tuple[int, int], *, overlap: float = 0.5, drop_padding: bool = True
) -> dict[str, int]:
    """Tokens that reach the language model under every stitching that the layout allows.

    The views that are no tiles keep their tokens, without padding on request. The tiles keep all ("views",
    "concat"), lose the columns that repeat the tile before ("stride_views"), or are blended on the ERP grid
    of their own resolution ("resample"). "concat" and "stride_views" need one pitch row.
    """
    flat = len(flat_views(layout)) * grid[0] * grid[1]
    if drop_padding:
        flat -= _padding_tokens(layout, grid)
    count = len(layout.tiles)
    tokens = {"views": flat + count * grid[0] * grid[1]}
    if len({tile.row for tile in layout.tiles}) == 1:
        tokens["concat"] = tokens["views"]
        tokens["stride_views"] = flat + len(stitch_order(count, grid, "stride_views", overlap))
    if count:
        tokens["resample"] = flat + len(blend_grid(layout, grid).directions)
    return tokens


def _padding_tokens(layout: ErpLayout, grid: tuple[int, int]) -> int:
    boxes = cell_boxes(grid)
    return sum(int((~sees_picture(view, boxes)).sum()) for view in flat_views(layout))


def _mean_overlap(layout: ErpLayout) -> float | None:
    overlap = tile_pairs(layout, PairRule("adjacent")).overlap
    return float(overlap.mean()) if len(overlap) else None
