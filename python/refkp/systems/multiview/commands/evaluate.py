"""`refkp multiview eval`: a trained run judged on held-out samples, beside what knows less and what knows more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from refkp._files import write_json
from refkp.commands import add_out, output_folder, parsed, parser, table

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser
    from torch import Tensor

    from refkp.systems.multiview.inference.evaluation import Judged
    from refkp.systems.multiview.inference.predictor import Predictor
    from refkp.systems.multiview.training.runs import TrainedRun

_COMMAND = "refkp multiview eval"
_EXAMPLE = f"{_COMMAND} --run RUN --data held_out.h5 --out judged"


def evaluate(argv: list[str]) -> int:
    """Judge a run: errors in space and in pictures, cameras, one view beside all, with cameras and without."""
    options = parsed(_parser(), argv)

    import torch
    from torch.utils.data import DataLoader

    from refkp.systems.multiview.data.collation import collate
    from refkp.systems.multiview.data.dataset import MultiviewDataset
    from refkp.systems.multiview.inference.evaluation import evaluate as judge
    from refkp.systems.multiview.inference.evaluation import mean_joints
    from refkp.systems.multiview.training.runs import load_run

    run = load_run(options.run)
    mapped = run.data["joint_map"]
    labels = None if mapped is None else torch.tensor(mapped)
    rows: list[Judged] = []
    for views in (None, 1):
        shown = MultiviewDataset(options.data, joint_map=labels, num_views=-1 if views is None else views)
        run.require_data(shown.store.info)
        batches = list(DataLoader(shown, options.batch_size, collate_fn=collate))
        size = shown.store.info.size
        if views is None:
            rows += judge(batches, _predictors(run, mean_joints(batches)), size)
        else:
            rows += judge(batches, {"model, one view": _model(run)}, size)
    told = [(row.name, *row[1:3], row.error_px, row.pck[1], *row[6:]) for row in rows]
    columns = ["", "MPJPE mm", "PA-MPJPE mm", "error px", "PCK 5 %", "cameras deg", "centres mm"]
    print(table(columns, told))
    with output_folder(options.out) as folder:
        names = list(run.model.body.joint_names)
        write_json(folder / "summary.json", {"joints": names, "rows": [row._asdict() for row in rows]})
    print(f"summary.json in {options.out}")
    return 0


def _model(run: TrainedRun) -> Predictor:
    from refkp.systems.multiview.inference.predictor import ModelPredictor

    return ModelPredictor(run.model)


def _predictors(run: TrainedRun, mean: Tensor) -> dict[str, Predictor]:
    from refkp.systems.multiview.inference.predictor import (
        ConstantPredictor,
        ModelPredictor,
        RestPredictor,
        TriangulationPredictor,
    )

    model: dict[str, Predictor] = {"model": ModelPredictor(run.model)}
    if run.calibrated_share:
        model["model, cameras given"] = ModelPredictor(run.model, calibrated=True)
    model["model, pictures exchanged"] = ModelPredictor(run.model, exchanged=True)
    model["rest pose, mean rig"] = RestPredictor(run.model)
    model["mean of the judged"] = ConstantPredictor(mean)
    model["labels triangulated"] = TriangulationPredictor()
    return model


def _parser() -> ArgumentParser:
    command = parser(_COMMAND, evaluate.__doc__, example=_EXAMPLE)
    add = command.add_argument
    add("--run", type=Path, required=True, help="folder of a complete run, or a checkpoint")
    add("--data", type=Path, required=True, help="file of samples that training has not seen")
    add("--batch_size", type=int, default=16, help="samples at a time")
    add_out(command, "summary.json")
    return command
