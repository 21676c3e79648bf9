"""The panorama pages: tiles of one panorama, overlap training on several, captions from their tiles."""

from __future__ import annotations

import csv
from pathlib import Path

from refkp._extras import named_extras
from refkp.data.synthetic import describe_panorama, render_panorama
from refkp.systems.panorama import pictures
from refkp.systems.panorama.data.sources import find_panoramas
from refkp.systems.panorama.inference.captioning import Request, answer
from refkp.systems.panorama.overlaps.pairs import tile_pairs
from refkp.systems.panorama.overlaps.spec import PairRule
from refkp.systems.panorama.training.runs import load_run
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
    from rich.progress import track

#: Made-up scenes where there is no input.
_SCENES = 8
_SCENE_HEIGHT = 512
_QUERY = "the scene"


def find_or_render(source: Path | None, folder: Path) -> list[Path]:
    """The panoramas of `source`, or made-up ones, rendered once into `folder`."""
    if source is not None:
        return find_panoramas(source)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scene_{seed}.png" for seed in range(_SCENES)]
    for seed, path in enumerate(track(paths, description="rendering scenes")):
        if not path.exists():
            picture = render_panorama(seed, _SCENE_HEIGHT).permute(1, 2, 0).numpy()
            unfinished = path.with_suffix(".part")
            Image.fromarray(picture).save(unfinished, format="PNG")
            unfinished.replace(path)
    return paths


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
    run = run_training([*_arguments("vision", source, folder, epochs), "--fresh"])
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


def caption_page(report: Report, paths: list[Path], folder: Path, epochs: int | None) -> None:
    """Train the two text stages on made-up scenes and their true descriptions, and let the model describe them."""
    table = folder.parent / "captions.csv"
    truth = [describe_panorama(seed) for seed in range(len(paths))]
    rows = [(str(path.resolve()), _QUERY, text) for path, text in zip(paths, truth, strict=True)]
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("url", "query", "annotation"), *rows])
    first, last = (
        run_training(_arguments(stage, table, folder, epochs)) for stage in ("resampler", "finetune")
    )
    answers = list(answer(load_run(folder), [Request(path, _QUERY) for path in paths]))
    report.section("A language model that reads the tiles")
    report.text(
        f"The trained tokens go through a projector, with the direction of each token, into a small language model "
        f"with random weights; {first.seconds + last.seconds:.0f} s of training in the stages resampler and finetune "
        "(LoRA) on captions that say what was rendered. So small a set is learned by heart; the held-out scenes show "
        "what of it carries over."
    )
    lines = [
        (path.name, "held out" if path.name in last.held_out else "trained", want, text)
        for path, want, text in zip(paths, truth, answers, strict=True)
    ]
    repeated = [text == want for _, kind, want, text in lines if kind == "trained"]
    report.numbers(
        [
            (f"{first.before['val/caption']:.2f}", "held-out caption loss before, nats per token"),
            (f"{last.after['val/caption']:.2f}", "after"),
            (f"{sum(repeated)} of {len(repeated)}", "training captions repeated to the letter"),
        ]
    )
    report.table(("scene", "", "true description", "answer"), lines, text_columns=4)


def _arguments(stage: str, source: Path, folder: Path, epochs: int | None) -> list[str]:
    arguments = ["--config", "tiny", "--stage", stage, "--data", str(source), "--out", str(folder)]
    return arguments + ([f"--trainer.max_epochs={epochs}"] if epochs is not None else [])
