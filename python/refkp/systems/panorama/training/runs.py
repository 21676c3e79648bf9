"""A run of three stages on disk: what is complete, where the next stage begins, and building the model again.

    RUN/stage_state.json      the configuration all stages share, and the checkpoint of each complete one
    RUN/vision/               config.yaml, checkpoints/, logs, summary.json
    RUN/resampler/, RUN/finetune/    the same

Source: spec panorama 5 and 7.19.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, NamedTuple

import torch

from refkp._checks import fail
from refkp._files import write_text
from refkp.systems.panorama.data.text import TextSpec
from refkp.systems.panorama.data.viewing import Viewing
from refkp.systems.panorama.losses.objective import LossSpec
from refkp.systems.panorama.model.stages import STAGES, Stage
from refkp.systems.panorama.model.vlm import PanoramaVLM, PanoramaVLMSpec
from refkp.training.config import from_plain

_STATE = "stage_state.json"


@dataclass
class StageState:
    """What stage_state.json holds.

    Args:
        config: shared by all stages: networks and layout.
        options: begun stage -> with what else it is trained.
        checkpoints: complete stage -> its checkpoint, from the folder of the run.
    """

    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    checkpoints: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Path) -> StageState:
        """The state of a run; an empty one where nothing was trained yet."""
        path = run / _STATE
        return cls(**json.loads(path.read_text())) if path.exists() else cls()

    def write(self, run: Path) -> None:
        """Replace the file in one step."""
        write_text(run / _STATE, json.dumps(vars(self), indent=2) + "\n")


class StagePlan(NamedTuple):
    """What is to be done for a stage."""

    action: Literal["train", "resume", "done"]
    start_from: Path | None  # checkpoint of the stage before; None for the first
    resume_from: Path | None  # last checkpoint of an interrupted training


def plan_stage(
    run: Path,
    stage: Stage,
    config: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    *,
    first: Stage = "vision",
    fresh: bool = False,
) -> StagePlan:
    """What `stage` needs: nothing when complete, else training from the weights of the stage before.

    Args:
        run: the folder of the run.
        stage: what is to be trained.
        config: what all stages of a run share; plain values.
        options: with what else this stage is trained; plain values.
        first: with which stage the run begins; "resampler" where no overlap loss is wanted.
        fresh: plan the stage as if nothing of it was there.

    Raises:
        ValueError: the stage before is not complete, or the run has weights of another `config`, or the stage
            of other `options`.
    """
    state = StageState.read(run)
    last = run / stage / "checkpoints" / "last.ckpt"
    interrupted = last.exists() and not fresh
    kept = STAGES[STAGES.index(first) : STAGES.index(stage)]
    # Without weights there is nothing that a change could spoil: a first try that failed binds nobody.
    if interrupted or any(name in state.checkpoints for name in (kept if fresh else STAGES)):
        _require_same("config", state.config, config, run)
    if interrupted or (stage in state.checkpoints and not fresh):
        _require_same("options", state.options.get(stage, {}), options or {}, run / stage)
    start_from = None
    if kept:
        if kept[-1] not in state.checkpoints:
            remedy = f"Train it first with `--stage {kept[-1]}`, or all stages with `--stage all`."
            fail(
                "plan_stage",
                "stage",
                f"one after a complete stage {kept[-1]!r} in {run}",
                repr(stage),
                remedy,
            )
        start_from = run / state.checkpoints[kept[-1]]
    if stage in state.checkpoints and not fresh:
        return StagePlan("done", start_from, None)
    if interrupted:
        return StagePlan("resume", start_from, last)
    return StagePlan("train", start_from, None)


def begin_stage(
    run: Path,
    stage: Stage,
    config: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
    *,
    fresh: bool = False,
) -> None:
    """Note the configuration of run and stage; with `fresh`, first put this stage and those after it aside.

    Folders put aside are renamed, never deleted: RUN/vision becomes RUN/vision_1, or the next free number.
    """
    state = StageState.read(run)
    if fresh:
        for later in STAGES[STAGES.index(stage) :]:
            state.checkpoints.pop(later, None)
            state.options.pop(later, None)
            if (run / later).exists():
                (run / later).rename(_free_name(run / later))
    state.config, state.options[stage] = dict(config), dict(options or {})
    state.write(run)


def complete_stage(run: Path, stage: Stage, checkpoint: Path) -> None:
    """Note that a stage is complete, and its checkpoint."""
    state = StageState.read(run)
    state.checkpoints[stage] = str(checkpoint.resolve().relative_to(run.resolve()))
    state.write(run)


def _free_name(folder: Path) -> Path:
    count = 1
    while (candidate := folder.with_name(f"{folder.name}_{count}")).exists():
        count += 1
    return candidate


def _require_same(argument: str, begun: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    now = json.loads(json.dumps(now))  # tuples become lists, as in the file
    if not begun or begun == now:
        return
    differences = list(_differences(begun, now))
    got = "; ".join(f"{key} {there} there and {here} here" for key, there, here in differences)
    first = "the first stage" if argument == "config" else "it"
    remedy = f"Repeat its options, train {first} again with `--fresh`, or choose another `--out`."
    fail("plan_stage", argument, f"that of {folder}", got, remedy)


def _differences(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value in a, value in b) of everything that differs."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys((*a, *b)):
            yield from _differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif a != b:
        yield prefix, a, b


# ---- weights ------------------------------------------------------------------------------------


def load_weights(model: PanoramaVLM, checkpoint: Path) -> None:
    """Copy the weights of a checkpoint of the same or an earlier stage into `model`.

    A vision checkpoint has no projector and no language model; nothing else may be missing.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    weights = {name.removeprefix("model."): value for name, value in saved["state_dict"].items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    new_parts = ("projector.", "language.") if saved["panorama"]["stage"] == "vision" else ()
    wrong = [*unexpected, *(name for name in missing if not name.startswith(new_parts))]
    if wrong:
        rule = "of the networks that are to be loaded"
        fail("load_weights", "checkpoint", rule, f"{len(wrong)} other weights in {checkpoint}: {wrong[:3]}")


class LoadedRun(NamedTuple):
    """A trained model, and what it was trained with."""

    model: PanoramaVLM  # in evaluation mode
    stage: Stage
    viewing: Viewing
    text: TextSpec
    loss: LossSpec
    checkpoint: Path


def load_run(run: str | Path, stage: Stage | None = None) -> LoadedRun:
    """The model of a run, from its folder or from one checkpoint.

    Args:
        run: the folder of the run, or a checkpoint file.
        stage: which stage; None takes the last complete one.

    Raises:
        ValueError: the stage is not complete, or the checkpoint was not written by a panorama training.
    """
    checkpoint = Path(run) if Path(run).is_file() else _checkpoint(Path(run), stage)
    saved = _read_checkpoint(checkpoint)
    network, data = saved["panorama"], saved["PanoramaData"]
    model = PanoramaVLM(
        from_plain(PanoramaVLMSpec, network["model"]), with_language=network["stage"] != "vision"
    )
    load_weights(model, checkpoint)
    return LoadedRun(
        model.eval(),
        network["stage"],
        from_plain(Viewing, data["viewing"]),
        from_plain(TextSpec, data["text"]),
        from_plain(LossSpec, network["loss"]),
        checkpoint,
    )


def _read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, IndexError):  # whatever a file of another kind leads to
        saved = {}
    if not isinstance(saved, dict) or not {"panorama", "PanoramaData"} <= saved.keys():
        fail("load_run", "run", "a whole checkpoint of `refkp train panorama`", repr(str(checkpoint)))
    return saved


def _checkpoint(run: Path, stage: Stage | None) -> Path:
    complete = StageState.read(run).checkpoints
    chosen = stage or next((name for name in reversed(STAGES) if name in complete), None)
    if chosen not in complete:
        got = f"complete ones: {', '.join(complete) or 'none'}"
        remedy = f"Train it with `refkp train panorama --stage {chosen or 'all'} --out {run}`."
        fail("load_run", "stage", f"complete in {run}", got, remedy)
    return run / complete[chosen]
