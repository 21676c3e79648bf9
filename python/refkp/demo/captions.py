"""The captions page: where the sun stands in scenes that training has not seen, asked of a small language model."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from refkp._extras import named_extras
from refkp._files import whole_folder, write_text
from refkp._progress import progress_bar
from refkp.data.synthetic import render_panorama, sun_azimuth_deg
from refkp.systems.panorama import pictures
from refkp.systems.panorama.data.captions import Caption, read_captions
from refkp.systems.panorama.inference.captioning import Request, answer
from refkp.systems.panorama.training.runs import LoadedRun, load_run
from refkp.systems.panorama.training.system import run_training
from refkp.systems.panorama.views.images import read_panorama
from refkp.systems.panorama.views.rendering import render_views
from refkp.training.run import TrainingRun
from refkp.viz.report import Report

with named_extras():
    from matplotlib.figure import Figure
    from PIL import Image

_QUERY = "the sun"
#: Clockwise from the picture's middle, each a quarter of the circle.
_ANSWERS = ("ahead", "right", "behind", "left")
_GREY = "grey.png"  # what a blind model would see

#: What the tiny preset is changed in: four tiles of 4 x 4 tokens, a short prompt, and a small language model trained
#: as a whole, which learns from scratch what a pretrained one would know. No overlap loss, so no vision stage.
_OPTIONS = {
    "model.loss.kind": "none",
    "model.model.vision.encoder.image_size": 32,
    "model.model.vision.resampler.kind": "identity",
    "model.model.vision.resampler.depth": "null",
    "model.model.projector.num_frequencies": 1,
    "model.model.language.lora": "null",
    "data.viewing.erp_height": 64,
    "data.viewing.layout.overlap": 0,
    "data.viewing.layout.pitch_min_deg": 15,
    "data.viewing.layout.pitch_max_deg": 15,
    "data.viewing.layout.global_view": "false",
    "data.text.template": "plain",
    "data.text.query_template": "Where is {query}?",
    "data.batch_size": 16,
    "data.repeat": 1,
}
_LEARNING_RATE = 4.0e-3  # of the finetune stage


@dataclass(frozen=True)
class SunTask:
    """How many made-up scenes there are; no scene is in two of the sets.

    Args:
        num_training: scenes to learn from.
        num_turns: pictures of each of them, turned about the vertical at random and every other one mirrored; the
            answer turns along.
        num_choosing: scenes that choose the checkpoint.
        num_judged: scenes on which it is judged.
        height: rows of their pictures.
        epochs: of the finetune stage.
    """

    num_training: int = 500
    num_turns: int = 4
    num_choosing: int = 32
    num_judged: int = 96
    height: int = 64
    epochs: int = 5


_TASK = SunTask()


class Scene(NamedTuple):
    """A picture, and where the sun stands in it."""

    picture: Tensor  # uint8 [3,H,2H]
    azimuth_deg: float  # to the right of the middle

    @property
    def answer(self) -> str:
        """In a word."""
        return _ANSWERS[round(self.azimuth_deg / 90) % 4]


class Judged(NamedTuple):
    """Answers about pictures that training has not seen."""

    truth: list[str]
    said: list[str]

    @property
    def accuracy(self) -> float:
        """Part of the answers that are right to the letter."""
        return sum(map(str.__eq__, self.truth, self.said)) / len(self.truth)


def caption_page(report: Report, folder: Path, epochs: int | None, task: SunTask = _TASK) -> None:
    """Train the two text stages on made-up scenes, and ask about others.

    Args:
        report: what is written on.
        folder: for pictures and run; an earlier one is replaced.
        epochs: of the finetune stage; None: those of the task.
        task: how many scenes.
    """
    with whole_folder(folder / "scenes") as scenes:
        make_scenes(scenes, task)
    scenes = folder / "scenes"
    first, last = _trained(scenes, folder / "run", task.epochs if epochs is None else epochs)
    run = load_run(last.folder.parent)
    rows = read_captions([scenes / "judged.csv"])
    judged = Judged([row.answer for row in rows], _asked(run, [row.panorama for row in rows]))
    [blind] = _asked(run, [scenes / _GREY])
    usual = _most_frequent(row.answer for row in read_captions([scenes / "train.csv"]))
    _tell(report, run, (first, last), judged, task)
    report.numbers(
        [
            (f"{100 * judged.accuracy:.0f} %", f"of {len(rows)} held-out scenes answered right"),
            (f"{100 / len(_ANSWERS):.0f} %", "by chance"),
            (_share(judged.truth, usual), f"with the most frequent answer of the training, “{usual}”"),
            (_share(judged.truth, blind), f"with what it says of a grey picture, “{blind}”"),
        ]
    )
    _show(report, run, rows, judged)


def make_scenes(folder: Path, task: SunTask) -> None:
    """Write the pictures and a caption file for each set of them."""
    count = task.num_training, task.num_choosing, task.num_judged
    ends = np.cumsum(count).tolist()
    for name, end, size in zip(("train", "choose", "judged"), ends, count, strict=True):
        turns = task.num_turns if name == "train" else 0
        rows = []
        for seed in progress_bar(range(end - size, end), "rendering scenes"):
            for number, scene in enumerate(scenes_of(seed, task.height, turns)):
                path = f"{seed:04d}_{number}.png"
                _save(scene.picture, folder / path)
                rows.append((path, _QUERY, scene.answer))
        text = io.StringIO()
        csv.writer(text).writerows([("url", "query", "annotation"), *rows])
        write_text(folder / f"{name}.csv", text.getvalue())
    _save(torch.full((3, task.height, 2 * task.height), 128, dtype=torch.uint8), folder / _GREY)


def scenes_of(seed: int, height: int, turns: int) -> list[Scene]:
    """A made-up scene; or, with `turns`, so many views of it, turned by whole columns, every other one mirrored."""
    picture, azimuth = render_panorama(seed, height, supersample=1), sun_azimuth_deg(seed)
    if not turns:
        return [Scene(picture, azimuth)]
    width = picture.shape[2]
    columns = np.random.default_rng([seed, 1]).integers(width, size=turns).tolist()
    turned = [Scene(picture.roll(k, 2), azimuth + 360 * k / width) for k in columns]
    return [Scene(s.picture.flip(2), -s.azimuth_deg) if n % 2 else s for n, s in enumerate(turned)]


def _save(picture: Tensor, path: Path) -> None:
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path, compress_level=1)


def _trained(scenes: Path, run: Path, epochs: int) -> tuple[TrainingRun, TrainingRun]:
    """A short resampler stage, which the finetune stage asks for, and that one."""
    options = {
        **_OPTIONS,
        "data.source": scenes / "train.csv",
        "data.val_source": scenes / "choose.csv",
        "trainer.default_root_dir": run,
    }
    shared = ["--config", "tiny", *(f"--{name}={value}" for name, value in options.items())]
    brief = ["--stage=resampler", "--trainer.max_epochs=1", "--trainer.limit_train_batches=20", "--fresh"]
    first = run_training([*shared, *brief], reports=False)
    own = [
        f"--model.optimizer.lr={_LEARNING_RATE}",
        f"--trainer.max_epochs={epochs}",
        f"--trainer.check_val_every_n_epoch={epochs}",
    ]
    return first, run_training([*shared, "--stage=finetune", *own], reports=False)


def _asked(run: LoadedRun, panoramas: Sequence[Path]) -> list[str]:
    return list(answer(run, [Request(path, _QUERY) for path in panoramas], batch_size=32))


def _most_frequent(answers: Iterable[str]) -> str:
    return Counter(answers).most_common(1)[0][0]


def _share(truth: Sequence[str], said: str) -> str:
    """How often one and the same answer is right."""
    return f"{100 * truth.count(said) / len(truth):.0f} %"


def _tell(
    report: Report,
    run: LoadedRun,
    stages: tuple[TrainingRun, TrainingRun],
    judged: Judged,
    task: SunTask,
) -> None:
    layout, (rows, columns) = run.viewing.build_layout(), run.model.vision.encoder.grid
    report.section("A language model that reads the tiles")
    report.text(
        f"Where is the sun? {layout.num_views} tiles of {run.viewing.view_size} pixels give {rows} x {columns} tokens "
        "each. They go through a projector, with the direction of each token, into a small language model; all of it "
        f"begins with random weights. {sum(stage.seconds for stage in stages):.0f} s of training in the stages "
        f"resampler and finetune, on {stages[1].num_training} pictures of {task.num_training} made-up scenes, turned "
        f"and mirrored. The answer is one of {len(_ANSWERS)} words, written letter by letter. It is judged on "
        f"{len(judged.truth)} scenes that were seen neither in training nor in the choice of the checkpoint."
    )


def _show(report: Report, run: LoadedRun, rows: Sequence[Caption], judged: Judged) -> None:
    """Answers by the true direction, and the tiles of a scene that was answered right."""
    azimuths = [sun_azimuth_deg(int(row.panorama.name.partition("_")[0])) for row in rows]
    right = [said == truth for truth, said in zip(judged.truth, judged.said, strict=True)]
    report.figure(
        _compass(azimuths, judged),
        "Each held-out scene at the true direction of its sun, seen from above, in the colour of the answer; crosses "
        "are wrong.",
    )
    index = right.index(True) if any(right) else 0
    erp = read_panorama(rows[index].panorama, run.viewing.erp_height)
    views = render_views(erp[None], run.viewing.build_layout(), run.viewing.view_size)
    report.figure(
        pictures.mosaic_picture(views),
        f"All that the model sees of one scene; truth “{judged.truth[index]}”, answer “{judged.said[index]}”.",
    )


def _compass(azimuths_deg: Sequence[float], judged: Judged) -> Figure:
    """Scenes on a circle, with the borders of the answers."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    axis = figure.add_subplot(projection="polar", theta_offset=np.pi / 2, theta_direction=-1)
    angle, radius = np.radians(azimuths_deg), np.linspace(0.6, 1.0, 5)[np.arange(len(azimuths_deg)) % 5]
    colours = ("#14213d", "#e07a1f", "#2a9d8f", "#b23a76")
    right = np.array(judged.truth) == np.array(judged.said)
    for name, colour in zip((*_ANSWERS, None), (*colours, "#888888"), strict=True):
        mine = np.array([said == name if name else said not in _ANSWERS for said in judged.said])
        for marker, chosen in (("o", mine & right), ("x", mine & ~right)):
            axis.scatter(angle[chosen], radius[chosen], c=colour, marker=marker, s=36)
        if name:
            axis.scatter([], [], c=colour, label=f"says “{name}”")
    for border in np.radians([45, 135, 225, 315]):
        axis.plot([border, border], [0, 1.1], color="#9aa4b5", linewidth=1)
    axis.set_xticks(np.radians([0, 90, 180, 270]), _ANSWERS)
    axis.set_yticks([])
    axis.set_ylim(0, 1.1)
    axis.grid(visible=False)
    axis.legend(loc="center left", bbox_to_anchor=(1.15, 0.5), frameon=False)
    return figure
