"""The command on a generated set: what it prints and leaves, what is loaded again, going on in an epoch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")

from refkp.data.shapes import KINDS, make_object
from refkp.systems.pose.commands.train import train
from refkp.systems.pose.data.generator import generate_scenes
from refkp.systems.pose.data.spec import GeneratorSpec
from refkp.systems.pose.templates.rendering import render_templates
from refkp.systems.pose.training.runs import load_run
from refkp.systems.pose.training.trainer import run_training

SMALL = [
    *("--config", "tiny", "--model.model.encoder.image_size=48", "--model.model.encoder.dim=32"),
    *("--model.model.encoder.depth=1", "--model.model.encoder.heads=2", "--model.model.attention.depth=1"),
    *("--model.model.attention.window=2", "--data.batch_size=2", "--data.samples.num_positives=2"),
    *("--data.samples.num_negatives=1", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"),
    "--trainer.enable_model_summary=false",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small pictures of one object, and its templates."""
    root = tmp_path_factory.mktemp("data")
    mesh = make_object(next(iter(KINDS)), seed=0)
    spec = GeneratorSpec(8, size=(60, 80), max_objects=1, max_occluders=0, samples=1)
    generate_scenes({1: mesh}, root, spec)
    render_templates(mesh, 1, root / "templates", level=0)
    return root


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run."""
    run = tmp_path_factory.mktemp("run")
    run_training(["--data", str(data), "--out", str(run), *SMALL])
    return run


def test_a_run_leaves_its_configuration_record_and_checkpoints(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["num_patches"] == 16
    assert (summary["num_training"], summary["num_held_out"]) == (7, 1)
    for values in (summary["before"], summary["after"]):
        assert {"val/acc_seen", "val/flow_mae", "val/loss_total", "val/rotation_error_deg"} <= values.keys()
    assert (finished / "config.yaml").exists()
    assert (finished / summary["checkpoint"]).exists()
    assert (finished / "checkpoints" / "last.ckpt").exists()


def test_the_model_of_a_run(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    model = load_run(finished)
    assert not model.training
    weights = torch.load(finished / summary["checkpoint"], weights_only=True)["state_dict"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[f"model.{name}"]), name
    again = load_run(finished / "checkpoints" / "last.ckpt")
    assert again.spec.encoder.image_size == 48


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`run` must be a complete run, with summary.json"):
        load_run(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="a whole checkpoint of `refkp train pose`"):
        load_run(tmp_path / "other.ckpt")


def test_a_run_goes_on_in_the_middle_of_an_epoch(data: Path, tmp_path: Path) -> None:
    """From a checkpoint after one of four steps of the second epoch to the weights of the whole run."""
    every = ["--checkpoint.every_n_train_steps=1", "--checkpoint.save_top_k=-1", "--checkpoint.monitor=null"]
    run_training(["--data", str(data), "--out", str(tmp_path / "whole"), *SMALL, *every])
    [middle] = (tmp_path / "whole" / "checkpoints").glob("*step=5.ckpt")
    run_training(["--data", str(data), "--out", str(tmp_path / "rest"), *SMALL, f"--resume={middle}"])
    whole, rest = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("whole", "rest")
    )
    assert whole["global_step"] == rest["global_step"] == 8
    for name, value in whole["state_dict"].items():
        torch.testing.assert_close(rest["state_dict"][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_the_report(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(["--data", str(data), "--out", str(tmp_path), *SMALL, "--trainer.max_epochs=1"])
    printed = capsys.readouterr().out
    assert "patch accuracy, seen" in printed
    assert "patch accuracy by chance: 0.0588" in printed
