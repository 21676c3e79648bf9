"""`refkp panorama tiles`: what a layout sees of a panorama, as pictures."""

from __future__ import annotations

from pathlib import Path

from refkp._extras import named_extras
from refkp.systems.panorama.layout import ErpLayout, LayoutSpec
from refkp.systems.panorama.pairs import PairRule, tile_pairs


def tiles(argv: list[str]) -> int:
    """Draw what a tile layout sees of a panorama: mosaic, outlines, coverage, token pairs."""
    with named_extras():
        from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="refkp panorama tiles", description=tiles.__doc__)
    parser.add_argument("panorama", type=str, help="a 2:1 equirectangular picture")
    parser.add_argument("--out", type=str, required=True, help="folder for the pictures")
    parser.add_argument("--size", type=int, default=448, help="side of the rendered views in pixels")
    parser.add_argument("--tokens", type=int, default=14, help="tokens along the side of a view")
    parser.add_argument("--max_pairs", type=int, default=4, help="how many pair overlays to draw")
    parser.add_argument("--layout", type=LayoutSpec, default=LayoutSpec(), help="the tile layout")
    parser.add_argument("--pairs", type=PairRule, default=PairRule(), help="which tiles are paired")
    options = parser.instantiate(parser.parse_args(argv))
    layout, out = ErpLayout.build(options.layout), Path(options.out)
    _draw(
        options.panorama, layout, options.pairs, out, options.size, (options.tokens,) * 2, options.max_pairs
    )
    (out / "layout.json").write_text(layout.to_json() + "\n")
    coverage = layout.coverage()
    print(
        f"{len(layout.tiles)} tiles, layout {layout.hash}, {100 * (1 - coverage[0]):.1f} % of the sphere seen"
    )
    print(f"pictures in {out}")
    return 0


def _draw(
    panorama: str,
    layout: ErpLayout,
    rule: PairRule,
    out: Path,
    size: int,
    grid: tuple[int, int],
    max_pairs: int,
) -> None:
    from refkp.systems.panorama import pictures
    from refkp.systems.panorama.images import read_panorama
    from refkp.systems.panorama.views import render_views

    erp = read_panorama(panorama)
    views = render_views(erp[None], layout, size, antialias="box")
    figures = {
        "mosaic": pictures.mosaic_picture(views),
        "outlines": pictures.outline_picture(erp, layout),
        "coverage": pictures.coverage_picture(erp, layout),
    }
    pairs = tile_pairs(layout, rule)
    for (a, b), _ in list(zip(pairs.ij.tolist(), pairs.overlap, strict=True))[:max_pairs]:
        figures[f"pair_{a}_{b}"] = pictures.pair_picture(views, a, b, grid)
    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(out / f"{name}.png", dpi=110)
