"""`refkp panorama tiles`: what a layout sees of a panorama, as pictures and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refkp._extras import named_extras
from refkp.systems.panorama.commands.layout_options import add_layout_options, chosen_layout
from refkp.systems.panorama.commands.option_checks import require_counts
from refkp.systems.panorama.overlaps.pairs import TilePairs, tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.views.coverage import LayoutReport, layout_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from refkp.systems.panorama.views.rendering import ViewSet


def tiles(argv: list[str]) -> int:
    """Draw what a layout sees of a panorama: mosaic, outlines, coverage, pair graph, token pairs."""
    with named_extras():
        from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="refkp panorama tiles", description=tiles.__doc__)
    parser.add_argument("panorama", type=str, help="a 2:1 equirectangular picture")
    parser.add_argument("--out", type=str, required=True, help="folder for the pictures")
    parser.add_argument("--size", type=int, default=448, help="side of the rendered views in pixels")
    parser.add_argument("--tokens", type=int, default=14, help="tokens along the side of a view")
    parser.add_argument("--max_pairs", type=int, default=4, help="how many pair overlays to draw")
    add_layout_options(parser)
    parser.add_argument("--pairs", type=PairRule, default=PairRule(), help="which tiles are paired")
    options = parser.instantiate(parser.parse_args(argv))

    require_counts("tiles", options, "tokens")
    require_counts("tiles", options, "max_pairs", least=0)

    from refkp.systems.panorama.views.images import read_panorama
    from refkp.systems.panorama.views.rendering import render_views

    erp = read_panorama(options.panorama)
    layout = chosen_layout(options, erp.shape[1], options.size)
    views = render_views(erp[None], layout, options.size, antialias="box")
    pairs = tile_pairs(layout, options.pairs)
    figures = _figures(erp, views, pairs, (options.tokens,) * 2, options.max_pairs)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=110)
    (out / "layout.json").write_text(layout.to_json() + "\n")
    _print_report(layout_report(layout), layout.hash, len(pairs.ij))
    print(f"pictures in {out}")
    return 0


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
        figures[f"pair_{a}_{b}"] = pictures.pair_picture(views, a, b, grid)
    return figures


def _print_report(report: LayoutReport, digest: str, num_pairs: int) -> None:
    print(
        f"{report.num_tiles} tiles and {report.num_crops} crops, layout {digest}, "
        f"{100 * report.coverage:.1f} % of the sphere seen, {num_pairs} pairs"
    )
    for row in report.rows:
        print(
            f"  {row.num_views:3} x {row.kind} at pitch {row.pitch_deg:6.1f}°, overlapping by "
            f"{round(100 * row.overlap)} % in yaw"
        )
    for count, share in enumerate(report.multiplicity):
        print(f"  {100 * share:5.1f} % of the sphere seen {count} times")
