"""What a training command says and leaves behind, and what it refuses."""

from __future__ import annotations

import json
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("yaml", reason="needs the extra `train`")

import yaml

from refkp.training.checkpoint import read_checkpoint
from refkp.training.console import quiet_console
from refkp.training.precision import bfloat16_speedup, chosen_precision
from refkp.training.run import train
from refkp.training.safeguard import Safeguard
from tests.training.small_system import SMALL, STAGED, SmallModule, signal_at


def small(folder: Path, *options: str) -> list[str]:
    return ["--config", "tiny", "--out", str(folder), *options]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(SMALL, small(folder))
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # as Python does where no test runs
def test_the_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What runs on what, a line per validation, the report with every path; nothing else on either stream."""
    train(SMALL, small(tmp_path))
    out, err = capsys.readouterr()
    lines = out.splitlines()
    stage = tmp_path / "train"
    threads = torch.get_num_threads()
    precision = chosen_precision("auto", torch.device("cpu"))
    first = f"small: cpu, {threads} threads, {precision}; 18 samples, 5 held out; {stage}"
    assert lines[0] == first
    assert [line.split("  ")[0] for line in lines[1:4]] == ["step 5/15", "step 10/15", "step 15/15"]
    assert lines[4].split() == ["train:", "held", "out", "before", "best", "checkpoint"]
    assert lines[-2].startswith(f"best checkpoint  {stage / 'checkpoints'}")
    assert len(lines) == 10
    assert err == ""
    log = (stage / "log.txt").read_text()
    assert "step 15/15" in log
    assert "`Trainer.fit` stopped" in log


def test_a_finished_run_leaves_its_files(finished: Path) -> None:
    stage = finished / "train"
    names = {path.name.split(".")[0] for path in stage.iterdir()}
    assert names == {"checkpoints", "config", "events", "hparams", "log", "summary"}
    summary = json.loads((stage / "summary.json").read_text())
    assert (summary["system"], summary["stage"], summary["steps"]) == ("small", "train", 15)
    assert len(summary["held_out"]) == 5
    assert (finished / summary["checkpoint"]).is_file()
    assert "batch_size: 4" in (stage / "config.yaml").read_text()
    assert len(list(stage.glob("events.*"))) == 1
    options = yaml.safe_load((stage / "hparams.yaml").read_text())
    assert options["trainer"]["max_epochs"] == 3
    assert options["precision"] == chosen_precision("auto", torch.device("cpu"))


def test_the_last_step_is_saved_whatever_the_interval(tmp_path: Path) -> None:
    options = ["--checkpoint.every_n_train_steps", "4", "--checkpoint.save_top_k", "-1"]
    train(SMALL, [*small(tmp_path), *options])
    steps = {int(path.stem.split("step=")[1]) for path in tmp_path.rglob("*step=*.ckpt")}
    assert steps == {8, 12, 15}  # at step 4 nothing was validated yet that it could be judged by


def test_the_configuration_of_a_run_repeats_it(finished: Path, tmp_path: Path) -> None:
    [again] = train(SMALL, ["--config", str(finished / "train" / "config.yaml"), "--out", str(tmp_path)])
    summary = json.loads((finished / "train" / "summary.json").read_text())
    assert (again.before, again.after) == (summary["before"], summary["after"])


def test_a_finished_run_is_reported(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallModule, "forward", None)
    [run] = train(SMALL, small(finished))
    assert run.reported
    assert "train was complete and is left as it is; --fresh trains it again" in capsys.readouterr().out


def test_held_out_values_of_the_best_checkpoint_are_those_that_chose_it(finished: Path) -> None:
    """Validating the same weights twice gives the same numbers, though the validation draws."""
    summary = json.loads((finished / "train" / "summary.json").read_text())
    best = torch.load(finished / summary["checkpoint"], weights_only=True)
    callback = next(state for name, state in best["callbacks"].items() if name.startswith("ModelCheckpoint"))
    assert float(callback["best_model_score"]) == summary["after"]["val/miss"]


def test_held_out_means_are_over_all_samples(finished: Path) -> None:
    """Not over batches, of which the last is smaller: without noise, the same in batches of any size."""
    values = []
    for size in (2, 5):
        folder = finished / f"by_{size}"
        options = ["--model.noise=0", f"--data.batch_size={size}", "--trainer.max_epochs=1"]
        values.append(train(SMALL, small(folder, *options))[0].before)
    assert values[0]["val/miss"] == pytest.approx(values[1]["val/miss"], rel=1e-6)
    assert values[0]["val/error"] == pytest.approx(values[1]["val/error"], rel=1e-6)


def test_other_options_are_an_error_that_names_the_difference(finished: Path) -> None:
    with pytest.raises(ValueError, match=r"got data\.batch_size 4 there and 3 here\. Repeat its options"):
        train(SMALL, small(finished, "--data.batch_size=3"))
    with pytest.raises(ValueError, match=r"got trainer\.max_epochs 3 there and 4 here"):
        train(SMALL, small(finished, "--trainer.max_epochs=4"))
    assert train(SMALL, small(finished, "--workers=1"))[0].reported  # changes nothing


def test_the_seed_is_that_of_everything_random(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Order, draws and weights; the held-out part stays, so that runs of several seeds can be compared."""
    first = json.loads((finished / "train" / "summary.json").read_text())
    [other] = train(SMALL, small(tmp_path, "--seed", "1"))
    assert other.held_out == first["held_out"]
    assert other.before != first["before"]
    config = json.loads((tmp_path / "run.json").read_text())["begun"]["train"]["config"]
    assert (config["seed_everything"], config["data"]["seed"]) == (1, 1)
    with pytest.raises(SystemExit):
        train(SMALL, small(tmp_path / "new", "--seed", "true"))
    assert "`seed` must be a number; got True" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train(SMALL, small(tmp_path / "new", "--seed=-1"))
    assert "`seed` must be in [0,2^32); got -1" in capsys.readouterr().err


def test_fresh_puts_the_old_run_aside(tmp_path: Path) -> None:
    train(SMALL, small(tmp_path))
    assert not train(SMALL, small(tmp_path, "--data.batch_size=3", "--fresh"))[0].reported
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "train", "train_1"}


def test_stages_in_turn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = train(STAGED, small(tmp_path, "--stage", "all"))
    assert [run.stage for run in runs] == ["first", "second"]
    assert "small, stage second: cpu" in capsys.readouterr().out
    assert "lr: 0.001" in (tmp_path / "second" / "config.yaml").read_text()  # of tiny.second.yaml
    begin = read_checkpoint(tmp_path / runs[0].checkpoint, "small").weights()
    assert runs[1].before["val/error"] == pytest.approx(runs[0].after["val/error"], rel=1e-6)
    end = read_checkpoint(tmp_path / runs[1].checkpoint, "small").weights()
    assert any(not torch.equal(begin[name], end[name]) for name in begin)
    with pytest.raises(ValueError, match=r"model\.drop 0\.2 there and 0\.3 here"):
        train(STAGED, small(tmp_path, "--stage", "second", "--fresh", "--model.drop=0.3"))
    with pytest.raises(ValueError, match="Add `--stage second`"):
        train(STAGED, ["--config", str(tmp_path / "second" / "config.yaml")])


def test_an_error_in_the_data_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`source` must be here"):
        train(SMALL, small(tmp_path / "run", "--data", "elsewhere"))
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_system_is_refused(finished: Path) -> None:
    with pytest.raises(
        ValueError, match="a whole checkpoint of `refkp train pose`; got one of system 'small'"
    ):
        read_checkpoint(finished / "train" / "checkpoints" / "last.ckpt", "pose")


@pytest.mark.parametrize(
    "option", ["--trainer.precision=16-mixed", "--trainer.accelerator=cpu", "--nonsense=1"]
)
def test_unknown_options_are_rejected(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Precision and device are options of ours, so that none of the trainer's is passed over in silence."""
    with pytest.raises(SystemExit):
        train(SMALL, small(tmp_path, option))
    assert option.partition("=")[0].removeprefix("--") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "rule"),
    [
        ("--checkpoint.save_last=true", "`checkpoint.save_last` must be left out; got True"),
        ("--save_every_minutes=-1", "`save_every_minutes` must be at least 0; got -1.0"),
        ("--patience=0", "`patience` must be at least 1; got 0"),
    ],
)
def test_options_without_a_meaning_are_refused(option: str, rule: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rule):
        train(SMALL, small(tmp_path / "run", option))
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=r"'cuda' without a GPU. Use --device cpu or auto."):
        train(SMALL, small(tmp_path, "--device", "cuda"))


def test_a_run_without_a_validation_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got no validation\. Validate at least once"):
        train(SMALL, small(tmp_path, "--trainer.check_val_every_n_epoch=7"))
    assert (tmp_path / "train" / "checkpoints" / "last.ckpt").exists()


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"SmallModule: `loss` must be finite; got total (nan|inf), error"):
        train(SMALL, small(tmp_path, "--model.optimizer.lr=1.0e30", "--data.size=100"))


def test_weights_that_are_not_finite_are_no_best_checkpoint(tmp_path: Path) -> None:
    """The last steps, which no look at the loss follows."""
    with pytest.raises(ValueError, match="`loss` must be finite on held-out data; got nan at step 5"):
        train(SMALL, small(tmp_path, "--model.optimizer.lr=1.0e30", "--trainer.max_epochs=1"))
    assert not (tmp_path / "train" / "summary.json").exists()


def test_ranks_look_at_each_other_by_optimiser_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By batches, no look would be at a whole step where gradients of two are accumulated."""
    looks: list[int] = []
    monkeypatch.setattr(
        Safeguard, "_of_all_ranks", lambda self, trainer, due: looks.append(trainer.global_step) or (False, 0)
    )
    monkeypatch.setattr("refkp.training.safeguard._several", lambda trainer: True)
    train(SMALL, small(tmp_path, "--trainer.accumulate_grad_batches=2", "--data.size=100"))
    assert {10, 20} <= set(looks)


# ---- precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("speedup", "wanted"), [(0.02, "32-true"), (1.8, "bf16-mixed")])
def test_auto_is_what_the_cpu_computes_faster(
    speedup: float, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refkp.training.precision.bfloat16_speedup", lambda: speedup)
    assert chosen_precision("auto", torch.device("cpu")) == wanted
    assert chosen_precision("16-mixed", torch.device("cpu")) == "16-mixed"


def test_timing_a_product_draws_no_random_number() -> None:
    state = torch.get_rng_state()
    assert bfloat16_speedup() > 0
    assert torch.equal(torch.get_rng_state(), state)


def test_an_interrupted_run_keeps_its_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refkp.training.cli.chosen_precision", lambda *_: "bf16-mixed")
    train(SMALL, small(tmp_path))
    state = json.loads((tmp_path / "run.json").read_text())
    assert state["begun"]["train"]["resolved"] == {"precision": "bf16-mixed"}


# ---- console ------------------------------------------------------------------------------------


def test_warnings_that_help_stay_and_all_are_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown: Any = warnings.formatwarning
    with quiet_console() as log, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(
            "The 'train_dataloader' does not have many workers which may be a bottleneck.", stacklevel=1
        )
        log.open(tmp_path / "log.txt")
        warnings.warn("The learning rate is negative.", stacklevel=1)
    assert capfd.readouterr().err == "The learning rate is negative.\n"
    text = (tmp_path / "log.txt").read_text()
    assert "bottleneck" in text
    assert "negative" in text
    assert warnings.formatwarning is shown


@pytest.mark.parametrize(
    "content", ["", "[]", '{"system": "small"}', '{"system": "small", "begun": [], "complete": 3}']
)
def test_a_broken_run_is_told_as_such(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"a broken .*run\.json.*Choose another `--out`"):
        train(SMALL, small(tmp_path))


def test_a_file_is_no_folder_for_a_run(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ValueError, match=r"a file\. Choose another `--out`"):
        train(SMALL, small(tmp_path / "run"))


def test_a_broken_checkpoint_is_not_gone_on_from(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, small(tmp_path, *signal_at(3, signal.SIGTERM)))
    last = tmp_path / "train" / "checkpoints" / "last.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"last\.ckpt.*`--fresh`"):
        train(SMALL, small(tmp_path))


@pytest.mark.parametrize("content", [None, "", "{}", "[]"])
def test_a_complete_stage_without_its_summary_says_what_helps(tmp_path: Path, content: str | None) -> None:
    train(SMALL, small(tmp_path))
    summary = tmp_path / "train" / "summary.json"
    summary.unlink()
    if content is not None:
        summary.write_text(content)
    with pytest.raises(ValueError, match="`--fresh` trains the stage again"):
        train(SMALL, small(tmp_path))


def test_fresh_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("fresh: true\n")
    with pytest.raises(ValueError, match="Add `--fresh`"):
        train(SMALL, small(tmp_path / "run", "--config", str(tmp_path / "mine.yaml")))


def test_options_that_lightning_refuses_end_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train: .*limit_train_batches"):
        train(SMALL, small(tmp_path, "--trainer.limit_train_batches=0.1"))


def test_the_last_of_max_steps_is_judged_too(tmp_path: Path) -> None:
    """Though it is in the middle of an epoch."""
    train(SMALL, small(tmp_path, "--trainer.max_epochs=-1", "--trainer.max_steps=12"))
    checkpoint = torch.load(tmp_path / "train" / "checkpoints" / "epoch=2-step=12.ckpt", weights_only=True)
    scores = next(value for name, value in checkpoint["callbacks"].items() if "ModelCheckpoint" in name)
    values = [float(score) for score in scores["best_k_models"].values()]
    assert len(values) == 3
    assert len(set(values)) == 3


def test_the_same_weights_have_the_same_held_out_values(tmp_path: Path) -> None:
    """Though validation draws numbers, and training has drawn others in between; no step changes a weight."""
    [done] = train(SMALL, small(tmp_path, "--model.optimizer.lr=1.0e-30"))
    assert done.after == done.before
