"""The panorama pages: tiles of one panorama, and overlap training on several."""

from __future__ import annotations

from pathlib import Path

from refkp._extras import named_extras
from refkp._files import whole_file, whole_folder
from refkp._progress import progress_bar
from refkp.data.synthetic import render_panorama
from refkp.systems.panorama import pictures
from refkp.systems.panorama.data.sources import find_panoramas
from refkp.systems.panorama.overlaps.pairs import tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.training.system import PANORAMA, run_training
from refkp.systems.panorama.views.images import read_panorama
from refkp.systems.panorama.views.layout import ErpLayout
from refkp.systems.panorama.views.rendering import render_views
from refkp.training.curves import read_curves
from refkp.training.run import reported_values
from refkp.viz.curves import training_curves
from refkp.viz.report import Report

with named_extras():
    from PIL import Image

#: Made-up scenes where there is no input: one to look at, and those to train on, as high as the tiny preset reads.
_SHOWN_HEIGHT = 512
_SCENES = 8
_SCENE_HEIGHT = 256
_EPOCHS = 3


def find_or_render(source: Path | None, path: Path) -> Path:
    """The first panorama of `source`, or a made-up one, rendered to `path`."""
    if source is not None:
        return find_panoramas(source)[0]
    with whole_file(path) as unfinished:
        _render(0, _SHOWN_HEIGHT, unfinished)
    return path


def make_scenes(folder: Path) -> Path:
    """Made-up panoramas to train on; an earlier folder is replaced."""
    with whole_folder(folder) as unfinished:
        for seed in progress_bar(range(_SCENES), "rendering scenes"):
            _render(seed, _SCENE_HEIGHT, unfinished / f"scene_{seed}.png", supersample=1)
    return folder


def _render(seed: int, height: int, path: Path, supersample: int = 2) -> None:
    Image.fromarray(render_panorama(seed, height, supersample=supersample).permute(1, 2, 0).numpy()).save(
        path
    )


def picture_pages(report: Report, path: Path) -> None:
    """Tiles, outlines, coverage and one pair of the first panorama."""
    layout = ErpLayout.build()
    erp = read_panorama(path)
    views = render_views(erp[None], layout, 336, antialias="box")
    pairs = tile_pairs(layout, PairRule())
    seen = 100 * (1 - layout.coverage()[0])
    report.section("A panorama as overlapping perspective tiles")
    report.text(
        f"{path.name}: one global view and {len(layout.tiles)} pinhole tiles of 90 degrees, rendered by the e2p kernel "
        "straight from the bytes of the equirectangular picture, across its seam."
    )
    report.numbers(
        [
            (str(layout.num_views), "views"),
            (f"{seen:.1f} %", "of the sphere seen"),
            (f"{100 * float(pairs.overlap.mean()):.1f} %", "solid angle shared by neighbours"),
        ]
    )
    report.figure(pictures.mosaic_picture(views), "The views, each with its index and direction.")
    report.figure(pictures.outline_picture(erp, layout), "The borders of the tiles on the panorama.")
    report.figure(pictures.coverage_picture(erp, layout), "How many tiles see each direction.")
    a, b = pairs.ij[0].tolist()
    report.figure(
        pictures.pair_picture(views, a, b, (14, 14)),
        "Tokens of two neighbouring tiles that see the same directions (bright), and where they correspond.",
    )


def training_page(report: Report, source: Path, folder: Path, epochs: int | None) -> None:
    """Train the tiny vision stage; accuracy before and after against chance, and the curves."""
    epochs = _EPOCHS if epochs is None else epochs
    options = [f"--trainer.max_epochs={epochs}", f"--trainer.check_val_every_n_epoch={epochs}", "--fresh"]
    where = ["--data", str(source), "--out", str(folder)]
    run = run_training(["--config", "tiny", "--stage", "vision", *where, *options], reports=False)
    report.section("Learning from true overlaps")
    report.text(
        f"A small vision transformer with random weights, trained for {run.seconds:.0f} s on {run.num_training} "
        f"panoramas by VICReg on tokens that see the same direction; judged on {' and '.join(run.held_out)}, never "
        "seen in training. Overlap retrieval accuracy: how often the nearest token of the neighbouring tile, by "
        "cosine, is the one that sees the same direction."
    )
    before, after = run.before["val/tokens/retrieval"], run.after["val/tokens/retrieval"]
    report.numbers(
        [
            (f"{100 * before:.1f} %", "retrieval before"),
            (f"{100 * after:.1f} %", "retrieval after"),
            (f"{100 * run.before['val/chance']:.1f} %", "chance"),
            (f"{run.after['val/tokens/effective_rank']:.1f}", "effective rank of the tokens after"),
        ]
    )
    rows = [(title, f"{old:.4f}", f"{new:.4f}") for title, old, new in reported_values(run, PANORAMA)]
    report.table(("held out", "before", "after"), rows)
    names = ("train/total", "train/invariance", "train/variance", "train/covariance")
    report.figure(
        training_curves(read_curves(run.folder, names), "value"),
        "The loss and its unweighted terms over the steps.",
    )
