"""What a layout costs: tokens, floating-point operations, and how much of the sphere they buy.

Multiplications and additions count as two operations; biases, normalisations, activations and softmax are
left out, as is usual. Source: spec panorama 4.1 (stitchings) and 6 (token-budget profiler).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from refkp._checks import fail
from refkp.systems.panorama.model.position import flat_views, sees_picture
from refkp.systems.panorama.model.resampler.tokens import cell_boxes
from refkp.systems.panorama.model.stitching import blend_grid, stitch_order
from refkp.systems.panorama.overlaps.pairs import PairRule, tile_pairs
from refkp.systems.panorama.views.coverage import layout_report
from refkp.systems.panorama.views.layout import ErpLayout


def _require_positive(size: object, names: tuple[str, ...]) -> None:
    for name in names:
        if getattr(size, name) < 1:
            fail(type(size).__name__, name, "at least 1", getattr(size, name))


@dataclass(frozen=True)
class EncoderSize:
    """A vision transformer; the default is SigLIP base, patch 16.

    Args:
        dim: width D.
        mlp_dim: hidden width F of the feed-forward blocks.
        layers: number of blocks.
        patch_size: side p of the square of pixels of one token.
    """

    dim: int = 768
    mlp_dim: int = 3072
    layers: int = 12
    patch_size: int = 16

    def __post_init__(self) -> None:
        _require_positive(self, ("dim", "mlp_dim", "layers", "patch_size"))

    def flops(self, tokens: int) -> int:
        """Of one view of S tokens: layers (8 S D^2 + 4 S^2 D + 4 S D F) + 6 S p^2 D.

        Four projections D x D, the scores and the weighted sum of attention, two feed-forward products, and
        the embedding of three-channel patches.
        """
        s, d = tokens, self.dim
        block = 8 * s * d * d + 4 * s * s * d + 4 * s * d * self.mlp_dim
        return self.layers * block + 6 * s * self.patch_size**2 * d


@dataclass(frozen=True)
class LanguageSize:
    """A decoder with grouped-query attention and a gated feed-forward block; the default is Qwen2.5-0.5B.

    Args:
        dim: width D.
        mlp_dim: hidden width F of the feed-forward blocks.
        layers: number of blocks.
        heads, kv_heads: attention heads of queries, and of keys and values.
        vocabulary: number of tokens that can be generated.
        text_tokens: tokens of the prompt beside the vision tokens.
    """

    dim: int = 896
    mlp_dim: int = 4864
    layers: int = 24
    heads: int = 14
    kv_heads: int = 2
    vocabulary: int = 151936
    text_tokens: int = 64

    def __post_init__(self) -> None:
        _require_positive(self, ("dim", "mlp_dim", "layers", "heads", "kv_heads", "vocabulary"))
        if self.heads % self.kv_heads:
            fail("LanguageSize", "heads", f"a multiple of `kv_heads` = {self.kv_heads}", self.heads)
        if self.text_tokens < 0:
            fail("LanguageSize", "text_tokens", "at least 0", self.text_tokens)

    def prefill_flops(self, vision_tokens: int) -> int:
        """Of reading L = vision + text tokens and predicting the first new one:
        layers (L (4 D^2 + 4 D^2 kv/heads + 6 D F) + 2 L (L + 1) D) + 2 D vocabulary.

        Projections of queries and of the output D x D, of keys and values D x (D kv / heads), three
        feed-forward products; causal attention reads L (L + 1) / 2 pairs twice.
        """
        length, d = vision_tokens + self.text_tokens, self.dim
        linear = 4 * d * d + 4 * d * d * self.kv_heads // self.heads + 6 * d * self.mlp_dim
        return self.layers * (length * linear + 2 * length * (length + 1) * d) + 2 * d * self.vocabulary


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
    encoder: EncoderSize = EncoderSize(),
    language: LanguageSize = LanguageSize(),
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
