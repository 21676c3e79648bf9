"""The stages of a run on disk: what is complete, what was interrupted, and what a command has to do.

    RUN/run.json              with what each stage was begun, and the best checkpoint of each complete one
    RUN/STAGE/                config.yaml, checkpoints/, summary.json, the logs

One stage is the plain case of several.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from refkp._checks import fail
from refkp._files import put_aside, write_json


class Stage(NamedTuple):
    """A stage of training."""

    name: str
    monitor: str  # the logged held-out value that picks the best checkpoint
    mode: Literal["min", "max"]


@dataclass
class Begun:
    """With what a stage was begun.

    Args:
        config: options that decide its result; plain values.
        resolved: what "auto" came to: precision and batch size, the same until its end.
        before: held-out values before its first step.
    """

    config: dict[str, Any]
    resolved: dict[str, Any] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)


@dataclass
class RunState:
    """What run.json holds.

    Args:
        system: whose run it is.
        begun: stage -> with what.
        complete: stage -> its best checkpoint, from the folder of the run.
    """

    system: str
    begun: dict[str, Begun] = field(default_factory=dict)
    complete: dict[str, str] = field(default_factory=dict)


class StagePlan(NamedTuple):
    """What is to be done for a stage."""

    action: Literal["train", "resume", "report"]
    start_from: Path | None  # best checkpoint of the stage before; None for the first
    resume_from: Path | None  # last checkpoint of an interrupted training


class RunFolder:
    """The folder of a run.

    Args:
        path: the folder; need not exist.
        system: whose run it is or will be.

    Raises:
        ValueError: there is a run of another system, or none that can be read.
    """

    def __init__(self, path: Path | str, system: str) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            got = f"{str(self.path)!r}, a file"
            fail(
                "RunFolder",
                "path",
                "a folder, or one that does not exist yet",
                got,
                "Choose another `--out`.",
            )
        file = self.path / "run.json"
        self.state = _read_state(file) if file.exists() else RunState(system)
        if self.state.system != system:
            got = f"{str(self.path)!r} with one of {self.state.system!r}"
            fail("RunFolder", "path", f"a folder for a run of {system!r}", got, "Choose another `--out`.")

    def stage(self, name: str) -> Path:
        """The folder of a stage."""
        return self.path / name

    def last(self, name: str) -> Path:
        """The checkpoint from which an interrupted stage goes on."""
        return self.stage(name) / "checkpoints" / "last.ckpt"

    def best(self, name: str | None, stages: Sequence[str]) -> Path:
        """The best checkpoint of a complete stage; None: of the last complete one of `stages`.

        Raises:
            ValueError: the stage is not complete.
        """
        complete = self.state.complete
        chosen = name or next((stage for stage in reversed(stages) if stage in complete), None)
        if chosen not in complete:
            got = f"complete ones: {', '.join(complete) or 'none'}"
            option = f" --stage {chosen or 'all'}" if len(stages) > 1 else ""
            remedy = f"Train it with `refkp train {self.state.system}{option} --out {self.path}`."
            fail("RunFolder", "stage", f"complete in {self.path}", got, remedy)
        return self.path / complete[chosen]

    def plan(
        self,
        stage: str,
        stages: Sequence[str],
        config: Mapping[str, Any],
        *,
        shared: Sequence[str] = (),
        fresh: bool = False,
    ) -> StagePlan:
        """What `stage` needs: a report when complete, else training from the weights of the stage before.

        Args:
            stage: what is to be trained.
            stages: those of the run in order, without any that this run begins after.
            config: the options that decide the result; plain values.
            shared: dotted options in which all stages of a run must agree.
            fresh: plan the stage as if nothing of it was there.

        Raises:
            ValueError: the stage before is not complete, the stage was begun with another `config`, or another
                complete stage differs in what is shared.
        """
        before = stages[: stages.index(stage)]
        interrupted = self.last(stage).exists() and stage in self.state.begun and not fresh
        done = stage in self.state.complete and not fresh
        # Without weights there is nothing that a change could spoil: a first try that failed binds nobody.
        if interrupted or done:
            self._require_same(self.state.begun[stage].config, config, self.stage(stage))
        for other in before if fresh else self.state.complete:
            if other != stage and other in self.state.complete:
                begun = _selected(self.state.begun[other].config, shared)
                self._require_same(begun, _selected(config, shared), self.stage(other))
        start_from = None
        if before:
            if before[-1] not in self.state.complete:
                remedy = f"Train it first with `--stage {before[-1]}`, or all stages with `--stage all`."
                rule = f"one after a complete stage {before[-1]!r} in {self.path}"
                fail("train", "stage", rule, repr(stage), remedy)
            start_from = self.path / self.state.complete[before[-1]]
        if done:
            return StagePlan("report", start_from, None)
        if interrupted:
            return StagePlan("resume", start_from, self.last(stage))
        return StagePlan("train", start_from, None)

    def begin(
        self, stage: str, stages: Sequence[str], config: Mapping[str, Any], resolved: Mapping[str, Any]
    ) -> None:
        """Note with what a stage is trained from its first step; what is there of it and of later ones is put aside.

        Folders put aside are renamed, never deleted: RUN/vision becomes RUN/vision_1, or the next free number.
        """
        for later in stages[stages.index(stage) :]:
            self.state.complete.pop(later, None)
            self.state.begun.pop(later, None)
            if (self.stage(later) / "checkpoints").exists():  # a first try that failed left none
                put_aside(self.stage(later))
        self.state.begun[stage] = Begun(dict(config), dict(resolved))
        self._write()

    def remove_unfinished(self, stage: str) -> None:
        """Remove the checkpoints that a `kill -9` came upon while they were written."""
        for path in self.last(stage).parent.glob(".*.ckpt"):
            path.unlink()

    def note_before(self, stage: str, values: Mapping[str, float]) -> None:
        """Keep the held-out values before the first step, for the report of an interrupted training too."""
        self.state.begun[stage].before = dict(values)
        self._write()

    def note_resolved(self, stage: str, values: Mapping[str, Any]) -> None:
        """Keep what "auto" came to."""
        self.state.begun[stage].resolved = dict(values)
        self._write()

    def complete(self, stage: str, checkpoint: Path) -> None:
        """Note that a stage is complete, and its best checkpoint."""
        self.state.complete[stage] = str(checkpoint.resolve().relative_to(self.path.resolve()))
        self._write()

    def _write(self) -> None:
        state = self.state
        begun = {name: vars(values) for name, values in state.begun.items()}
        write_json(self.path / "run.json", {**vars(state), "begun": begun})

    def _require_same(self, begun: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
        now = json.loads(json.dumps(now))  # tuples become lists, as in the file
        if begun == now:
            return
        got = "; ".join(
            f"{key} {there} there and {here} here" for key, there, here in _differences(begun, now)
        )
        remedy = "Repeat its options, put it aside with `--fresh`, or choose another `--out`."
        fail("train", "options", f"those of {folder}", got, remedy)


def _read_state(file: Path) -> RunState:
    try:
        saved = json.loads(file.read_text())
        begun = {name: Begun(**values) for name, values in saved["begun"].items()}
        return RunState(saved["system"], begun, dict(saved["complete"]))
    except (ValueError, KeyError, TypeError, AttributeError):  # whatever another content leads to
        remedy = "Choose another `--out`; the checkpoints beside it can still be used by their own path."
        fail("RunFolder", "path", "a run whose run.json `refkp train` wrote", f"a broken {file}", remedy)


def run_checkpoint(run: Path | str, system: str, stages: Sequence[str], stage: str | None = None) -> Path:
    """The checkpoint that a run stands for: the best of a complete stage (None: the last), or the file itself.

    Args:
        run: folder of `refkp train SYSTEM` or of one of its stages, or a checkpoint.
        system, stages: whose run.
        stage: which stage of a folder.

    Raises:
        ValueError: no such stage is complete.
    """
    path = Path(run)
    if path.is_file():
        return path
    if path.name in stages and (path.parent / "run.json").exists():
        return RunFolder(path.parent, system).best(path.name, stages)
    return RunFolder(path, system).best(stage, stages)


def _selected(config: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """The values of dotted options."""
    selected = {}
    for option in options:
        value: Any = config
        for part in option.split("."):
            value = value[part]
        selected[option] = value
    return selected


def _differences(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value in a, value in b) of everything that differs."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys((*a, *b)):
            yield from _differences(a.get(key), b.get(key), f"{prefix}.{key}" if prefix else str(key))
    elif a != b:
        yield prefix, a, b
