"""Three stages in a run folder: what each starts from, what is trained, resuming, and using the run afterwards."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("PIL", reason="needs the extra `panorama`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `panorama`")
pytest.importorskip("peft", reason="needs the extra `panorama`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("rich", reason="needs the extra `train`")

from refkp.systems.panorama.commands.caption import caption
from refkp.systems.panorama.commands.evaluate import evaluate
from refkp.systems.panorama.commands.train import train
from refkp.systems.panorama.stages import STAGES
from refkp.systems.panorama.training.runs import load_run
from refkp.systems.panorama.training.system import run_training
from refkp.training.stages import RunFolder
from tests.systems.panorama.conftest import write_captions, write_panoramas
from tests.systems.panorama.training.small import arguments
from tests.training.small_system import signal_at, weights_digest

QUICK = ["--generation.max_new_tokens=4", "--batch_size=3"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A caption file, and a run with all its stages."""
    folder = tmp_path_factory.mktemp("finished")
    table = write_captions(write_panoramas(folder))
    assert train(arguments(table, folder / "run", "--stage", "all")) == 0
    return table, folder / "run"


@pytest.fixture
def run(finished: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy to change; nothing in a run names its own place."""
    shutil.copytree(finished[1], tmp_path / "run")
    return finished[0], tmp_path / "run"


def weights(run: Path, stage: str) -> dict[str, Tensor]:
    path = run / RunFolder(run, "panorama").state.complete[stage]
    return torch.load(path, weights_only=True)["state_dict"]


def test_every_stage_leaves_its_files(finished: tuple[Path, Path]) -> None:
    _, folder = finished
    state = json.loads((folder / "run.json").read_text())
    assert list(state["complete"]) == list(STAGES)
    assert state["begun"]["vision"]["config"]["model"]["model"]["language"]["source"] == "tiny"
    for stage in STAGES:
        assert (folder / state["complete"][stage]).parent == folder / stage / "checkpoints"
        assert (folder / stage / "checkpoints" / "last.ckpt").exists()
        assert f"stage: {stage}" in (folder / stage / "config.yaml").read_text()
        summary = json.loads((folder / stage / "summary.json").read_text())
        assert ("val/caption" in summary["after"]) == (stage != "vision")
        assert ("val/tokens/retrieval" in summary["after"]) == (stage != "finetune")


def test_each_stage_starts_from_the_one_before_and_trains_its_own_part(finished: tuple[Path, Path]) -> None:
    vision, resampler, finetune = (weights(finished[1], stage) for stage in STAGES)

    def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
        names = (name for name in before if not torch.equal(before[name], after[name]))
        return {"lora" if "lora_" in name else ".".join(name.split(".")[1:3]) for name in names}

    assert all(name.startswith("model.vision.") for name in vision)
    assert changed(vision, resampler) == {"vision.resampler"}
    parts = changed(resampler, finetune)
    assert "lora" in parts
    assert {part.split(".")[0] for part in parts} == {"lora", "projector"}


def test_a_complete_stage_is_left_alone(
    run: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, folder = run
    monkeypatch.setattr("refkp.systems.panorama.training.module.PanoramaVLM", None)  # nothing is even built
    state = (folder / "run.json").read_text()
    assert train(arguments(table, folder, "--stage", "all")) == 0
    assert capsys.readouterr().out.count("was complete and is left as it is; --fresh trains it again") == 3
    assert (folder / "run.json").read_text() == state


def test_fresh_puts_this_stage_and_the_later_ones_aside(run: tuple[Path, Path]) -> None:
    table, folder = run
    assert not run_training(arguments(table, folder, "--stage", "resampler", "--fresh")).reported
    assert list(RunFolder(folder, "panorama").state.complete) == ["vision", "resampler"]
    names = {path.name for path in folder.iterdir() if path.is_dir()}
    assert names == {"vision", "resampler", "resampler_1", "finetune_1"}


def test_another_configuration_is_refused(run: tuple[Path, Path]) -> None:
    table, folder = run
    other = "--data.viewing.layout.hfov_deg=80"
    for stage in ("vision", "finetune"):
        with pytest.raises(ValueError, match=r"layout\.hfov_deg 90\.0 there and 80\.0 here"):
            run_training(arguments(table, folder, "--stage", stage, other))
    with pytest.raises(ValueError, match=r"model\.language\.lora\.rank 2 there and 3 here"):
        run_training(
            arguments(table, folder, "--stage", "finetune", "--fresh", "--model.model.language.lora.rank=3")
        )
    with pytest.raises(
        ValueError, match=r"model\.vision_loss_weight 0\.1 there and 0\.2 here.* put it aside with"
    ):
        run_training(arguments(table, folder, "--stage", "resampler", "--model.vision_loss_weight=0.2"))
    assert len(RunFolder(folder, "panorama").state.complete) == 3


def test_the_stage_before_must_be_complete(caption_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Train it first with `--stage resampler`, or all stages"):
        run_training(arguments(caption_file, tmp_path / "new", "--stage", "finetune"))
    assert not (tmp_path / "new").exists()


def test_a_stage_in_a_file_alone_is_refused(run: tuple[Path, Path]) -> None:
    config = run[1] / "finetune" / "config.yaml"
    with pytest.raises(ValueError, match="Add `--stage finetune`"):
        run_training(["--config", str(config)])


def test_an_error_in_the_data_leaves_nothing_behind(caption_file: Path, tmp_path: Path) -> None:
    options = arguments(tmp_path / "typo.csv", tmp_path / "run")
    with pytest.raises(ValueError, match=r"typo\.csv"):
        run_training(options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option",
    [
        *("trainer.limit_val_batches=0", "checkpoint.save_top_k=0"),
    ],
)
def test_a_stage_that_would_end_without_checkpoint_is_not_begun(
    option: str, caption_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"`{option.partition('=')[0]}` must be set so that held-out"):
        run_training(arguments(caption_file, tmp_path / "run", f"--{option}"))
    assert not (tmp_path / "run").exists()


def test_an_endless_training_is_refused(caption_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Set `max_epochs` or `max_steps`"):
        run_training(arguments(caption_file, tmp_path / "run", "--trainer.max_epochs=-1"))


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupted_stage_ends_as_an_uninterrupted_one(
    stage: str, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    """Random turns of panoramas and tiles, dropout of the adapters: every stage, twice interrupted."""
    table, folder = finished
    more = ["--stage", stage, "--fresh", "--trainer.max_epochs=3", "--data.jitter_deg=5"]
    more += ["--data.augmentation=full", "--model.model.language.lora.dropout=0.1"]
    for name in ("whole", "cut"):
        shutil.copytree(folder, tmp_path / name)
        state = json.loads((tmp_path / name / "run.json").read_text())
        for begun in state["begun"].values():
            begun["config"]["model"]["model"]["language"]["lora"]["dropout"] = 0.1
        (tmp_path / name / "run.json").write_text(json.dumps(state))
    whole = run_training(arguments(table, tmp_path / "whole", *more))
    for step, number in ((0, signal.SIGINT), (3, signal.SIGTERM)):
        with pytest.raises(KeyboardInterrupt):
            run_training(arguments(table, tmp_path / "cut", *more, *signal_at(step, number)))
        more = [option for option in more if option != "--fresh"]
    cut = run_training(arguments(table, tmp_path / "cut", *more))
    assert (cut.before, cut.after, cut.steps) == (whole.before, whole.after, whole.steps)
    digests = {weights_digest(tmp_path / n / stage / "checkpoints" / "last.ckpt") for n in ("whole", "cut")}
    assert len(digests) == 1


def test_a_run_is_rebuilt_from_its_folder_alone(finished: tuple[Path, Path]) -> None:
    loaded = load_run(finished[1])
    assert (loaded.stage, loaded.model.training) == ("finetune", False)
    assert (loaded.viewing.view_size, loaded.viewing.erp_height) == (32, 32)
    assert loaded.loss.vicreg.coefficients == (25.0, 25.0, 30.0)
    saved = weights(finished[1], "finetune")
    state = loaded.model.state_dict()
    assert {f"model.{name}" for name in state} == set(saved)
    assert all(torch.equal(value, saved[f"model.{name}"]) for name, value in state.items())
    assert not load_run(finished[1], "vision").model.with_language
    file = finished[1] / "resampler" / "checkpoints" / "last.ckpt"
    assert load_run(file).checkpoint == file


def test_runs_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"complete ones: none.*--stage all"):
        load_run(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    (tmp_path / "table.csv").write_text("url\n")
    for name in ("other.ckpt", "table.csv"):
        with pytest.raises(ValueError, match="a whole checkpoint of `refkp train panorama`"):
            load_run(tmp_path / name)


def test_options_that_cannot_be_met(finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    options = ["x.png", "--run", str(finished[1])]
    with pytest.raises(SystemExit):
        caption([*options, "--device", "toaster"])
    assert "toaster" in capsys.readouterr().err
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        caption([*options, "--batch_size=0"])


def test_caption_answers_for_every_panorama(
    finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = finished
    panoramas = [str(table.parent / f"pano_{index}.png") for index in range(4)]
    for question in (["--query", "the sky"], ["--instruction", "Is it dark?"], ["--stage", "resampler"]):
        assert caption([*panoramas, "--run", str(folder), *question, *QUICK]) == 0
        device, *lines = capsys.readouterr().out.splitlines()
        assert device.endswith("float32")
        assert [line.split(": ")[0] for line in lines] == panoramas
    with pytest.raises(ValueError, match="of a text stage; got the vision stage"):
        caption([*panoramas, "--run", str(folder), "--stage", "vision"])


def test_eval_writes_scores_and_predictions(
    finished: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, folder = finished
    more = tmp_path / "more.csv"
    more.write_text(f"url,query,annotation\n{table.parent / 'pano_0.png'},the sky,Grey.\n")
    out = tmp_path / "eval"
    files = ["--data", str(table), str(more), "--out", str(out)]
    assert evaluate(["--run", str(folder), *files, *QUICK]) == 0
    report = json.loads((out / "summary.json").read_text())
    assert (report["num_samples"], report["stage"]) == (5, "finetune")
    assert set(report["scores"]) >= {"BLEU-1", "BLEU-4", "ROUGE-L", "CIDEr", "tokens/retrieval", "chance"}
    assert set(report["unavailable"]) == {"METEOR", "SPICE"}
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert {row["query"]: row["references"] for row in rows}["the sky"] == "Blue. | Grey."
    printed = capsys.readouterr().out
    assert "5 samples of 6 rows" in printed
    assert "SPICE" in printed


def test_a_run_without_overlap_loss_begins_with_the_resampler(
    caption_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any crop strategy and any resampler can then be trained on captions."""
    views = ["--data.viewing.crops.strategy=anyres", "--data.viewing.crops.max_patches=4"]
    resampler = [
        "--model.model.vision.resampler.kind=perceiver",
        "--model.model.vision.resampler.num_latents=3",
    ]
    options = arguments(caption_file, tmp_path / "run", *views, *resampler, "--model.loss.kind=none")
    with pytest.raises(ValueError, match="Begin with the stage resampler"):
        run_training(options)
    for stage in ("resampler", "finetune"):
        assert run_training([*options, "--stage", stage]).after["val/caption"] > 0
    assert evaluate(["--run", str(tmp_path / "run"), "--data", str(caption_file), *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "ROUGE-L" in printed
    assert "retrieval" not in printed


@pytest.mark.slow
def test_two_processes_train_every_stage_once(caption_file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "refkp", "train", "panorama", "--stage", "all"]
    options = [*("--device=cpu", "--trainer.strategy=ddp", "--trainer.devices=2"), "--fresh"]
    for _ in range(2):
        done = subprocess.run(
            [*command, *arguments(caption_file, tmp_path / "run", *options)],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        assert done.stdout.count(": held out") == 3  # one process reports
    names = {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}
    assert names == {*STAGES, *(f"{stage}_1" for stage in STAGES)}
    assert list(RunFolder(tmp_path / "run", "panorama").state.complete) == list(STAGES)


def test_auto_batch_takes_what_the_data_holds(caption_file: Path, tmp_path: Path) -> None:
    run_training(arguments(caption_file, tmp_path / "run", "--auto_batch", "--data.batch_size=1"))
    last = torch.load(tmp_path / "run" / "vision" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] < 4  # there are four panoramas
    assert not list((tmp_path / "run").glob(".scale_batch_size*"))


def test_patience_stops_early(caption_file: Path, tmp_path: Path) -> None:
    frozen = ["--model.optimizer.lr=1.0e-20", "--patience=1", "--trainer.max_epochs=9"]
    run_training(arguments(caption_file, tmp_path / "run", *frozen))
    last = torch.load(tmp_path / "run" / "vision" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 4  # the second epoch was no better than the first


CAPTIONS = {
    "adams_place_bridge": "a bridge over water",
    "empty_warehouse_01": "an empty hall",
    "forest_slope": "trees on a slope",
    "kiara_1_dawn": "a field at dawn",
}


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif("REFKP_DATA" not in os.environ, reason="needs $REFKP_DATA")
def test_three_stages_learn_the_captions_of_real_panoramas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four photographs under the same question: caption loss below half of its start, each caption repeated."""
    folder = Path(os.environ["REFKP_DATA"]) / "panorama" / "hdri_haven"
    panoramas = [folder / f"{name}.jpg" for name in CAPTIONS]
    table = tmp_path / "captions.csv"
    lines = [f"{path},the scene,{CAPTIONS[path.stem]}" for path in panoramas]
    table.write_text("\n".join(("url,query,annotation", *lines)) + "\n")
    options = [
        *("--stage", "all", "--config", "tiny", "--data", str(table), f"--data.val_source={table}"),
        *("--model.model.vision.encoder.image_size=48", "--data.viewing.erp_height=128"),
        *("--data.batch_size=4", "--data.repeat=40", "--trainer.max_epochs=4"),
        *("--out", str(tmp_path / "run"), "--trainer.enable_progress_bar=false"),
    ]
    train(options)
    before = json.loads((tmp_path / "run" / "resampler" / "summary.json").read_text())["before"]
    after = json.loads((tmp_path / "run" / "finetune" / "summary.json").read_text())["after"]
    assert after["val/caption"] < before["val/caption"] / 2
    adapters = [value for name, value in weights(tmp_path / "run", "finetune").items() if "lora_B" in name]
    assert adapters
    assert all(value.any() for value in adapters)  # they begin at zero
    capsys.readouterr()
    caption([*map(str, panoramas), "--run", str(tmp_path / "run"), "--query", "the scene"])
    _, *lines = capsys.readouterr().out.splitlines()  # the first tells the device
    answers = [line.split(": ")[1] for line in lines]
    assert answers == list(CAPTIONS.values())
