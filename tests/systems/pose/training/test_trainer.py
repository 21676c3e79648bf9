"""The command on a generated set: what it prints and leaves, what is loaded again, going on in an epoch."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("rich", reason="needs the extra `train`")

from refkp.systems.pose.commands.train import train
from refkp.systems.pose.training.runs import load_run
from refkp.systems.pose.training.system import run_training
from tests.systems.pose.training.small import SMALL, write_data
from tests.training.small_system import signal_at, weights_digest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small pictures of one object, and its templates."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run, at a temperature of its own, with learned tokens beside the patches."""
    run = tmp_path_factory.mktemp("run")
    options = ["--model.model.classifier.temperature=0.6", "--model.model.attention.query_registers=1"]
    options += ["--model.model.attention.template_registers=2", "--model.model.attention.object_tokens=1"]
    run_training(["--data", str(data), "--out", str(run), *SMALL, *options])
    return run


def test_a_run_leaves_its_configuration_record_and_checkpoints(finished: Path) -> None:
    summary = json.loads((finished / "train" / "summary.json").read_text())
    assert (summary["num_training"], len(summary["held_out"])) == (7, 1)
    for values in (summary["before"], summary["after"]):
        assert {"val/acc_seen", "val/flow_mae", "val/total", "val/rotation_error_deg"} <= values.keys()
    assert (finished / "train" / "config.yaml").exists()
    assert (finished / summary["checkpoint"]).exists()
    assert (finished / "train" / "checkpoints" / "last.ckpt").exists()


def test_the_model_of_a_run(finished: Path) -> None:
    summary = json.loads((finished / "train" / "summary.json").read_text())
    model = load_run(finished)
    assert not model.training
    assert model.spec.classifier.temperature == 0.6  # what inference makes of the logits is what was trained
    weights = torch.load(finished / summary["checkpoint"], weights_only=True)["state_dict"]
    assert len([name for name in model.state_dict() if name.startswith("attention.added.")]) == 4
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[f"model.{name}"]), name
    again = load_run(finished / "train" / "checkpoints" / "last.ckpt")
    assert again.spec.encoder.image_size == 48


def test_a_folder_takes_no_second_network(data: Path, finished: Path) -> None:
    """No checkpoint of one depth is left beside the configuration of another."""
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"got model\.model\.encoder\.depth 1 there and 2 here"):
        run_training(["--data", str(data), "--out", str(finished), *SMALL, "--model.model.encoder.depth=2"])
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"complete ones: none\. Train it with `refkp train pose --out"):
        load_run(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="a whole checkpoint of `refkp train pose`"):
        load_run(tmp_path / "other.ckpt")


def test_an_interrupted_run_ends_as_an_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    """Random boxes, negatives and colours, Monte-Carlo poses, a loader process, a rate that ends above 0; twice
    interrupted.
    """
    options = [*SMALL, "--model.loss.pose.weight=0.1", "--data.augmentation.probability=0.8"]
    options += ["--data.num_workers=1", "--model.optimizer.eta_min=1e-4"]
    whole = run_training(["--data", str(data), "--out", str(tmp_path / "whole"), *options])
    for step, number in ((1, signal.SIGINT), (5, signal.SIGTERM)):
        with pytest.raises(KeyboardInterrupt):
            run_training(
                ["--data", str(data), "--out", str(tmp_path / "cut"), *options, *signal_at(step, number)]
            )
    cut = run_training(["--data", str(data), "--out", str(tmp_path / "cut"), *options])
    assert (cut.before, cut.after, cut.steps) == (whole.before, whole.after, whole.steps)
    last = Path("train", "checkpoints", "last.ckpt")
    assert weights_digest(tmp_path / "cut" / last) == weights_digest(tmp_path / "whole" / last)


def test_the_report(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(["--data", str(data), "--out", str(tmp_path), *SMALL, "--trainer.max_epochs=1"])
    printed = capsys.readouterr().out
    assert "patch accuracy, seen" in printed
    assert "patch accuracy by chance      0.05882" in printed
