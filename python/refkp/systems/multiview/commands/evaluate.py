"""`refkp multiview eval`: a trained run judged on held-out samples, beside what knows less and what knows more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refkp._checks import fail
from refkp._files import write_json
from refkp.commands import add_out, output_folder, parsed, parser, require_counts, table
from refkp.systems.multiview.commands.sessions import named_files

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from refkp.systems.multiview.batch import MultiviewBatch
    from refkp.systems.multiview.data.dataset import MultiviewDataset
    from refkp.systems.multiview.inference.evaluation import Judged
    from refkp.systems.multiview.inference.predictor import Predictor
    from refkp.systems.multiview.training.runs import TrainedRun

_COMMAND = "refkp multiview eval"
_EXAMPLE = f"{_COMMAND} --run RUN --data held_out.h5 --out judged"
_COLUMNS = (
    *("", "MPJPE mm", "PA-MPJPE mm", "mean px", "median px", "PCK 5 %"),
    *("cameras deg", "centres mm", "focal %"),
)


def evaluate(argv: list[str]) -> int:
    """Judge a run: errors in space, in every view and joint, cameras; fewer views; beside baselines."""
    options = parsed(_parser(), argv)
    require_counts(_COMMAND, options, "batch_size")

    from refkp.systems.multiview.data.dataset import MultiviewDataset
    from refkp.systems.multiview.inference.evaluation import evaluate as judge
    from refkp.systems.multiview.training.runs import load_run

    run = load_run(options.run)
    shown = run.samples(options.data, held_out=options.part == "held_out")
    info = shown.store.info
    cameras = len(info.camera_names)
    rows = judge(_batches(shown, options), _predictors(run, shown, options.points), info.size, cameras)
    for views in range(cameras - 1, 0, -1):
        fewer = MultiviewDataset(shown.store, shown.numbers, joint_map=shown.joint_map, num_views=views)
        name = f"model, {views} view{'s' * (views > 1)}"
        rows += judge(_batches(fewer, options), {name: _model(run)}, info.size, cameras)
    _tell(rows, list(info.camera_names), run.model.body.joint_names)
    with output_folder(options.out) as folder:
        _write(folder, rows, run, shown)
    print(f"summary.json and pictures in {options.out}")
    return 0


def _batches(shown: MultiviewDataset, options: Any) -> Iterable[MultiviewBatch]:
    from torch.utils.data import DataLoader

    from refkp.systems.multiview.data.collation import collate

    return DataLoader(shown, options.batch_size, collate_fn=collate)


def _model(run: TrainedRun) -> Predictor:
    from refkp.systems.multiview.inference.predictor import ModelPredictor

    return ModelPredictor(run.model, calibrated=run.calibrated_share == 1)


def _predictors(run: TrainedRun, shown: MultiviewDataset, points: list[str]) -> dict[str, Predictor]:
    from refkp.systems.multiview.inference.evaluation import mean_joints
    from refkp.systems.multiview.inference.predictor import (
        ConstantPredictor,
        ModelPredictor,
        RestPredictor,
        TriangulationPredictor,
    )

    calibrated = run.calibrated_share == 1
    model: dict[str, Predictor] = {"model": _model(run)}
    if 0 < run.calibrated_share < 1:
        model["model, cameras given"] = ModelPredictor(run.model, calibrated=True)
    model["model, pictures exchanged"] = ModelPredictor(run.model, calibrated=calibrated, exchanged=True)
    model["rest pose, mean rig"] = RestPredictor(run.model)
    model["mean of the judged"] = ConstantPredictor(mean_joints(shown))
    model["labels triangulated"] = TriangulationPredictor()
    return model | {
        name: _in_space(file, shown) for name, file in named_files(_COMMAND, "points", points).items()
    }


def _in_space(file: Path, shown: MultiviewDataset) -> Predictor:
    import torch

    from refkp.systems.multiview.inference.predictor import SpacePredictor
    from refkp.systems.multiview.reading.points import read_points

    info, sessions = shown.store.info, set(shown.store.samples.sessions.tolist())
    if len(sessions) > 1:
        rule = "left out for samples of several sessions: a file of points is of one"
        fail(_COMMAND, "points", rule, f"{file}, and samples of {len(sessions)}")
    found = read_points(file, info.num_joints)
    xyz = torch.from_numpy(found.xyz[:, 0]) * shown.metres
    return SpacePredictor(shown.of_body(xyz, 1), found.first_frame)


def _tell(rows: list[Judged], cameras: list[str], joints: tuple[str, ...]) -> None:
    told = [
        (
            *(row.name, row.mpjpe_mm, row.pa_mpjpe_mm, row.error_px, row.median_px, row.pck),
            *(row.camera_deg, row.camera_centre_mm, row.focal_percent),
        )
        for row in rows
    ]
    print(table(_COLUMNS, told))
    print(table(["median px", *cameras], [(row.name, *row.view_median_px) for row in rows]))
    best = [row for row in rows if ", " not in row.name or row.name == "model, cameras given"]
    columns = [f"{row.name}, mm" for row in best]
    by_joint = zip(joints, *(row.joint_mpjpe_mm for row in best), strict=True)
    print(table(["joint", *columns], list(by_joint)))


def _write(folder: Path, rows: list[Judged], run: TrainedRun, shown: MultiviewDataset) -> None:
    from refkp.systems.multiview.metrics.points import PCK_SHARE, PIXEL_THRESHOLDS
    from refkp.systems.multiview.pictures.samples import estimate_figures, pck_figure
    from refkp.viz.figures import write_figure

    summary = {
        "num_samples": len(shown),
        "joints": list(run.model.body.joint_names),
        "cameras": list(shown.store.info.camera_names),
        "pck_share": PCK_SHARE,
        "pck_thresholds_px": PIXEL_THRESHOLDS,
        "rows": [row._asdict() for row in rows],
    }
    write_json(folder / "summary.json", summary)
    curves = {row.name: (row.pck_px, row.pck_native_px) for row in rows}
    write_figure(pck_figure(curves), folder / "pck.png")
    for name, figure in estimate_figures(run.model, shown, calibrated=run.calibrated_share == 1).items():
        write_figure(figure, folder / f"{name}.png")


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, evaluate.__doc__, example=_EXAMPLE)
    add = command.add_argument
    add("--run", type=Path, required=True, help="folder of a complete run, or a checkpoint")
    add("--data", type=Path, required=True, help="file of samples")
    part = "all samples of a file that training has not seen, or those of its own that it held out"
    add("--part", default="all", choices=["all", "held_out"], help=part)
    text = "points3d.h5 of `fit` or `triangulate` to judge beside the model, for samples of one session"
    add("--points", nargs="+", default=[], metavar="NAME=FILE", help=text)
    add("--batch_size", type=int, default=16, help="samples at a time")
    add_out(command, "summary.json and pictures")
    return command
