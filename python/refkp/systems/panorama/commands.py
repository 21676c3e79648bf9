"""The commands of the panorama system: `refkp panorama VERB` and `refkp train panorama`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from refkp._extras import named_extras
from refkp.systems.panorama.layout import ErpLayout, LayoutSpec
from refkp.systems.panorama.pairs import PairRule, tile_pairs

_PRESETS = "refkp.systems.panorama.configs"

#: Values reported before and after training, and how they are called on paper.
REPORTED = {
    "val/tokens/retrieval": "overlap retrieval accuracy, tokens",
    "val/projected/retrieval": "overlap retrieval accuracy, head",
    "val/tokens/retrieval_elsewhere": "the same in another panorama, tokens",
    "val/projected/retrieval_elsewhere": "the same in another panorama, head",
    "val/chance": "chance",
    "val/tokens/effective_rank": "effective rank, tokens",
    "val/projected/effective_rank": "effective rank, head",
    "val/tokens/std": "feature std, tokens",
    "val/projected/std": "feature std, head",
    "val/total": "loss",
}


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
    from refkp.systems.panorama.data import read_panorama
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


class TrainingRun(NamedTuple):
    """A finished training run: held-out values before and after, and where everything lies."""

    before: dict[str, float]
    after: dict[str, float]
    held_out: list[str]  # file names
    num_training: int
    seconds: float  # of the training alone
    folder: Path


def run_training(argv: list[str]) -> TrainingRun:
    """Train the vision stage as `refkp train panorama` does; writes summary.json beside the checkpoints."""
    from refkp.systems.panorama.data import PanoramaData
    from refkp.systems.panorama.module import VisionModule
    from refkp.training.cli import TrainingCLI, resolve_arguments

    cli = TrainingCLI(
        VisionModule,
        PanoramaData,
        resolve_arguments(argv, _PRESETS),
        monitor="val/tokens/retrieval",
        links={"model.model.encoder.image_size": "data.view_size"},
    )
    before = dict(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
    start = time.perf_counter()
    cli.trainer.fit(cli.model, cli.datamodule)
    seconds = time.perf_counter() - start
    after = dict(cli.trainer.validate(cli.model, cli.datamodule, verbose=False)[0])
    folder = Path(cli.trainer.log_dir or cli.trainer.default_root_dir)
    summary = {"before": before, "after": after, "seconds": seconds}
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    held_out = [path.name for path in cli.datamodule.val_set.paths]
    return TrainingRun(before, after, held_out, len(cli.datamodule.train_set.paths), seconds, folder)


def train(argv: list[str]) -> int:
    """Train the vision stage and report held-out values before and after."""
    run = run_training(argv)
    print(f"{'held out':38} {'before':>10} {'after':>10}")
    for key, title in REPORTED.items():
        if key in run.before:
            print(f"{title:38} {run.before[key]:10.4f} {run.after[key]:10.4f}")
    print(
        f"{run.seconds:.0f} s of training; configuration, checkpoints, logs and summary.json in {run.folder}"
    )
    return 0


#: Verb -> the function that runs it, for `refkp panorama VERB`.
VERBS: dict[str, Callable[[list[str]], int]] = {"tiles": tiles}
