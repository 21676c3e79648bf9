"""`refkp panorama tiles`: what a layout sees of a panorama, as pictures and numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from refkp._files import write_text
from refkp.commands import add_out, output_folder, parsed, parser, require_counts, table
from refkp.systems.panorama.commands.layout_options import add_layout_options, chosen_layout
from refkp.systems.panorama.overlaps.spec import PairRule

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from matplotlib.figure import Figure
    from torch import Tensor

    from refkp.systems.panorama.overlaps.pairs import TilePairs
    from refkp.systems.panorama.views.coverage import LayoutReport
    from refkp.systems.panorama.views.layout import ErpLayout
    from refkp.systems.panorama.views.rendering import ViewSet

_COMMAND = "refkp panorama tiles"
_FIGURE_ROWS = 1024  # of the panorama behind outlines and coverage, more than the pictures have


def tiles(argv: list[str]) -> int:
    """Draw what a layout sees of a panorama: mosaic, outlines, coverage, pair graph, token pairs."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "size", "tokens")
    require_counts(_COMMAND, options, "max_pairs", least=0)

    from refkp.systems.panorama.overlaps.pairs import tile_pairs
    from refkp.systems.panorama.views.coverage import layout_report
    from refkp.systems.panorama.views.images import panorama_rows, read_panorama
    from refkp.systems.panorama.views.rendering import render_views

    rows = panorama_rows(options.panorama)
    layout = chosen_layout(options, rows, options.size)
    erp = read_panorama(options.panorama, min(rows, _rows_for(layout, options.size)))
    views = render_views(erp[None], layout, options.size, antialias="box")
    pairs = tile_pairs(layout, options.pairs)
    with output_folder(options.out) as folder:
        write_text(folder / "layout.json", layout.to_json() + "\n")
        (folder / "pairs").mkdir()
        for name, figure in _figures(erp, views, pairs, (options.tokens,) * 2, options.max_pairs).items():
            figure.savefig(folder / f"{name}.png", dpi=110)
    print(_report_text(layout_report(layout), layout.hash, len(pairs.ij)))
    print(f"pictures in {options.out}")
    return 0


def _rows_for(layout: ErpLayout, size: int) -> int:
    """How many rows of a panorama the views can show, twice over."""
    sharpest = max(size / math.tan(math.radians(min(view.hfov_deg, 150.0)) / 2) for view in layout.views)
    return max(_FIGURE_ROWS, math.ceil(math.pi * sharpest))


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, tiles.__doc__, example=f"{_COMMAND} PANO.jpg --out tiles")
    command.add_argument("panorama", type=Path, help="a 2:1 equirectangular picture")
    add_out(command, "the pictures and layout.json")
    command.add_argument("--size", type=int, default=448, help="side of the rendered views in pixels")
    command.add_argument("--tokens", type=int, default=14, help="tokens along the side of a view")
    command.add_argument("--max_pairs", type=int, default=4, help="how many pair overlays to draw")
    add_layout_options(command)
    command.add_argument("--pairs", type=PairRule, default=PairRule(), help="which tiles are paired")
    return command


def _figures(
    erp: Tensor, views: ViewSet, pairs: TilePairs, grid: tuple[int, int], max_pairs: int
) -> dict[str, Figure]:
    from refkp.systems.panorama import pictures

    figures = {
        "mosaic": pictures.mosaic_picture(views),
        "outlines": pictures.outline_picture(erp, views.layout),
        "coverage": pictures.coverage_picture(erp, views.layout),
    }
    if views.layout.tiles:
        figures["pair_graph"] = pictures.pair_graph_picture(erp, views.layout, pairs)
    for a, b in pairs.ij[:max_pairs].tolist():
        figures[f"pairs/{a}_{b}"] = pictures.pair_picture(views, a, b, grid)
    return figures


def _report_text(report: LayoutReport, digest: str, num_pairs: int) -> str:
    rows = [
        (f"{row.num_views} x {row.kind}", f"{row.pitch_deg:.1f}°", f"{round(100 * row.overlap)} %")
        for row in report.rows
    ]
    shares = [(str(count), f"{100 * share:.1f} %") for count, share in enumerate(report.multiplicity)]
    return "\n".join(
        (
            f"{report.num_tiles} tiles and {report.num_crops} crops, layout {digest}, "
            f"{100 * report.coverage:.1f} % of the sphere seen, {num_pairs} pairs",
            table(("views of a row", "pitch", "overlap in yaw"), rows),
            table(("times seen", "share of the sphere"), shares),
        )
    )
