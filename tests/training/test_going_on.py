"""An interrupted run ends bit for bit where an uninterrupted one ends: weights, optimiser, held-out values, report.

The small system draws random numbers in its data, its batches, its network and its validation.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("rich", reason="needs the extra `train`")

from refkp.training.run import train
from tests.structure.tree import ROOT
from tests.training.small_system import SMALL, STAGED, signal_at, weights_digest

#: How a run is cut into steps, epochs and validations -> its options.
SCHEDULES = {
    "epochs": [],
    "steps": ["--trainer.max_epochs=-1", "--trainer.max_steps=12"],
    "accumulated gradients": ["--trainer.accumulate_grad_batches=2"],
    "validations within an epoch": ["--trainer.val_check_interval=2"],
    "validation after every second epoch": ["--trainer.check_val_every_n_epoch=2", "--trainer.max_epochs=4"],
    "validation by steps": [
        *("--trainer.val_check_interval=3", "--trainer.check_val_every_n_epoch=null"),
        *("--trainer.max_epochs=-1", "--trainer.max_steps=13"),
    ],
    "workers": ["--workers=1"],
}


def small(folder: Path, *options: str) -> list[str]:
    return ["--config", "tiny", "--out", str(folder), *options]


def interrupted(folder: Path, step: int, number: int = signal.SIGINT, *options: str, **how: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, small(folder, *options, *signal_at(step, number, **how)))
    assert not (folder / "train" / "summary.json").exists()


def result(folder: Path, stage: str = "train") -> dict[str, Any]:
    """Everything that must be the same however often a run was interrupted."""
    summary = json.loads((folder / stage / "summary.json").read_text())
    del summary["seconds"]
    best = sorted(path.name for path in (folder / stage / "checkpoints").iterdir())
    last = weights_digest(folder / stage / "checkpoints" / "last.ckpt")
    return {**summary, "files": best, "last": last, "best": weights_digest(folder / summary["checkpoint"])}


#: Of these, another schedule, or a signal during a validation, is the quicker sibling.
SIBLINGS = ("epochs", "validations within an epoch")


@pytest.mark.parametrize(
    "schedule", [pytest.param(name, marks=[pytest.mark.slow] * (name in SIBLINGS)) for name in SCHEDULES]
)
def test_two_signals_in_one_run_change_nothing(schedule: str, tmp_path: Path) -> None:
    options = SCHEDULES[schedule]
    train(SMALL, small(tmp_path / "whole", *options))
    interrupted(tmp_path / "cut", 2, signal.SIGINT, *options)
    interrupted(
        tmp_path / "cut", 4, signal.SIGTERM, *options
    )  # the last step of an epoch, but for some schedules
    train(SMALL, small(tmp_path / "cut", *options))
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_step_is_a_bad_one_to_be_interrupted_at(schedule: str, tmp_path: Path) -> None:
    options = SCHEDULES[schedule]
    train(SMALL, small(tmp_path / "whole", *options))
    want = result(tmp_path / "whole")
    for step in range(want["steps"] - 1):
        interrupted(tmp_path / str(step), step, signal.SIGINT, *options)
        train(SMALL, small(tmp_path / str(step), *options))
        assert result(tmp_path / str(step)) == want, step


def test_a_signal_during_a_validation(tmp_path: Path) -> None:
    """It ends first: its values choose the best checkpoint."""
    train(SMALL, small(tmp_path / "whole"))
    interrupted(tmp_path / "cut", 10, when="SignalInValidation")
    train(SMALL, small(tmp_path / "cut"))
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


def test_a_signal_before_the_first_validation_leaves_a_checkpoint(tmp_path: Path) -> None:
    interrupted(tmp_path, 0)
    assert [path.name for path in (tmp_path / "train" / "checkpoints").iterdir()] == ["last.ckpt"]


def test_stages_go_on_too(tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        train(STAGED, small(tmp_path / name))
    train(STAGED, small(tmp_path / "whole", "--stage", "second"))
    with pytest.raises(KeyboardInterrupt):
        train(STAGED, small(tmp_path / "cut", "--stage", "second", *signal_at(7, signal.SIGTERM)))
    [first, second] = train(STAGED, small(tmp_path / "cut", "--stage", "all"))
    assert (first.reported, second.reported) == (True, False)
    assert result(tmp_path / "cut", "second") == result(tmp_path / "whole", "second")


def test_kill_9_loses_what_came_after_the_last_checkpoint_alone(tmp_path: Path) -> None:
    options = ["--save_every_minutes=0", "--trainer.max_epochs=12"]
    train(SMALL, small(tmp_path / "whole", *options))
    command = [sys.executable, "-m", "tests.training.small_system", *small(tmp_path / "cut", *options)]
    last = tmp_path / "cut" / "train" / "checkpoints" / "last.ckpt"
    for _ in range(2):
        seen = last.stat().st_mtime_ns if last.exists() else 0
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not last.exists() or last.stat().st_mtime_ns == seen:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.wait()
    assert not (tmp_path / "cut" / "train" / "summary.json").exists()
    train(SMALL, small(tmp_path / "cut", *options))
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_leaves_those_of_the_loader(number: int, tmp_path: Path) -> None:
    """Ctrl-C in a terminal: the step and the validation that follow still need batches."""
    options = [
        "--workers=2",
        "--trainer.accumulate_grad_batches=5",
    ]  # of five batches, so none is a place to stop
    train(SMALL, small(tmp_path / "whole", *options))
    signals = signal_at(1, number, when="SignalToAll")
    command = [
        sys.executable,
        "-m",
        "tests.training.small_system",
        *small(tmp_path / "cut", *options, *signals),
    ]
    cut = subprocess.run(
        command, cwd=ROOT, env=os.environ, capture_output=True, text=True, start_new_session=True
    )
    assert "at step 2: checkpoint written; the same command goes on." in cut.stdout
    assert cut.stderr.strip().splitlines()[-1:] == ["KeyboardInterrupt"]
    train(SMALL, small(tmp_path / "cut", *options))
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


def test_kill_9_between_a_best_checkpoint_and_the_last_one_leaves_no_second_copy(tmp_path: Path) -> None:
    options = ["--save_every_minutes=0"]
    train(SMALL, small(tmp_path / "whole", *options))
    kill = signal_at(10, signal.SIGKILL, when="SignalAfterEpoch")
    command = [sys.executable, "-m", "tests.training.small_system", *small(tmp_path / "cut", *options, *kill)]
    assert (
        subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True).returncode == -signal.SIGKILL
    )
    checkpoints = tmp_path / "cut" / "train" / "checkpoints"
    (checkpoints / ".last.1.ckpt").touch()  # as when it comes upon one that is being written
    train(SMALL, small(tmp_path / "cut", *options))
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


def test_a_checkpoint_is_written_beside_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by way of /tmp, which may be another disk: from there it would be a copy, that can be cut off."""
    monkeypatch.setattr("tempfile.mkstemp", None)
    train(SMALL, small(tmp_path, "--trainer.logger=false"))


def test_a_run_that_was_moved_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its best checkpoints: at this rate the last of them are written after the others."""
    options = ["--model.optimizer.lr=0.5", "--trainer.max_epochs=6"]
    train(SMALL, small(tmp_path / "whole", *options))
    interrupted(tmp_path / "cut", 22, signal.SIGINT, *options)
    moved = (tmp_path / "cut").rename(tmp_path / "moved")
    capsys.readouterr()
    train(SMALL, small(moved, *options))
    assert "dirpath" not in capsys.readouterr().err
    assert result(moved) == result(tmp_path / "whole")


def test_a_run_that_was_killed_before_its_report_reports(tmp_path: Path) -> None:
    train(SMALL, small(tmp_path / "whole"))
    want = result(tmp_path / "whole")
    (tmp_path / "whole" / "train" / "summary.json").unlink()
    state = json.loads((tmp_path / "whole" / "run.json").read_text())
    (tmp_path / "whole" / "run.json").write_text(json.dumps({**state, "complete": {}}))
    train(SMALL, small(tmp_path / "whole"))
    assert result(tmp_path / "whole") == want


def test_patience_that_ran_out_stays_so(tmp_path: Path) -> None:
    """A signal at the very validation that ends the training."""
    options = ["--patience=1", "--model.optimizer.lr=1.0e-20", "--trainer.max_epochs=9"]
    train(SMALL, small(tmp_path / "whole", *options))
    assert result(tmp_path / "whole")["steps"] == 10
    train(SMALL, small(tmp_path / "cut", *options, *signal_at(10, signal.SIGINT, when="SignalInValidation")))
    assert result(tmp_path / "cut") == result(tmp_path / "whole")
