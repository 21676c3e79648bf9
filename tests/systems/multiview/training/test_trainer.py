"""The command on rendered samples: what it leaves, what is loaded again, modes, curriculum, going on, two processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("transformers", reason="needs the extra `multiview`")
pytest.importorskip("embreex", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")
pytest.importorskip("matplotlib", reason="needs the extra `viz`")
pytest.importorskip("trimesh", reason="needs the extra `multiview`")

from refkp.systems.multiview.data.datamodule import MultiviewData
from refkp.systems.multiview.training.curriculum import CurriculumStage, lr_scale_at, stepped, weights_at
from refkp.systems.multiview.training.runs import load_run
from refkp.systems.multiview.training.system import run_training
from refkp.training.curves import read_curves
from tests.systems.multiview.training.small import SMALL, write_data
from tests.training.small_system import signal_at, weights_digest

LAST = Path("train", "checkpoints", "last.ckpt")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "samples.h5")


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of both modes, with a curriculum."""
    run = tmp_path_factory.mktemp("run")
    stages = '[{"epoch": 1, "weights": {"points": 3.0}, "lr_scale": 0.5}]'
    options = ["--model.calibrated_share=0.5", f"--model.curriculum={stages}", "--model.draw_every=2"]
    run_training(["--data", str(data), "--out", str(run), *SMALL, *options])
    return run


def test_a_run_leaves_held_out_values_of_both_modes(finished: Path) -> None:
    summary = json.loads((finished / "train" / "summary.json").read_text())
    names = {"mpjpe_mm", "pa_mpjpe_mm", "pck", "camera_deg", "calibrated/mpjpe_mm", "total", "keypoints"}
    for values in (summary["before"], summary["after"]):
        assert {f"val/{name}" for name in names} <= values.keys()
    assert (summary["num_training"], len(summary["held_out"])) == (12, 4)  # a whole animal is held out
    assert summary["after"]["val/calibrated/camera_deg"] < 1e-4  # degrees: nothing is estimated of them


def test_pictures_are_drawn_every_so_many_epochs(finished: Path, data: Path, tmp_path: Path) -> None:
    """Two epochs of three steps: the second draws, and what is learned is the same without."""
    drawn = sorted(path.name for path in (finished / "train" / "pictures").iterdir())
    assert drawn == ["epoch_0001_samples.png", "epoch_0001_turntable.png"]
    digests = []
    for number in (0, 1):
        run = tmp_path / str(number)
        run_training(["--data", str(data), "--out", str(run), *SMALL, f"--model.draw_every={number}"])
        digests.append(weights_digest(run / LAST))
    assert digests[0] == digests[1]


def test_gradients_and_the_curriculum_are_logged(finished: Path) -> None:
    logged = read_curves(finished / "train", ["train/gradient/rest", "train/total", "train/points"])
    assert all(value > 0 for value in logged["train/gradient/rest"][1])
    assert len(logged["train/total"][1]) == 6


def test_the_model_of_a_run_needs_no_other_file(finished: Path, data: Path) -> None:
    run = load_run(finished)
    assert not run.model.training
    assert run.model.body.joint_names[0] == "thorax"
    assert run.data["cameras"] == ["cam0", "cam1", "cam2"]
    assert float(run.model.prior.unit) == pytest.approx(0.08, rel=0.2)  # metres
    view = MultiviewData(str(data), split="session", body="insect", augmentation=None)
    view.setup("fit")
    batch = next(iter(view.val_dataloader()))
    with torch.no_grad():
        estimate = run.model(batch.images, batch.view_mask, batch.camera_indices)
    assert estimate.pose.rotations.shape == (4, 24, 3, 3)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    options = [*SMALL, "--data.num_views=2", "--model.calibrated_share=0.5"]
    options += ['--data.augmentation={"jitter": 0.05}']
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_training(["--data", str(data), "--out", str(whole), *options])
    with pytest.raises(KeyboardInterrupt):
        run_training(["--data", str(data), "--out", str(broken), *options, *signal_at(4, signal.SIGINT)])
    run_training(["--data", str(data), "--out", str(broken), *options])
    assert weights_digest(broken / LAST) == weights_digest(whole / LAST)


def test_steps_of_a_curriculum() -> None:
    stages = [CurriculumStage(5, {"points": 2.0}), CurriculumStage(2, {"points": 3.0, "betas": 1.0}, 0.1)]
    assert weights_at(stages, 1) == {}
    assert weights_at(stages, 2) == {"points": 3.0, "betas": 1.0}
    assert weights_at(stages, 9) == {"points": 2.0, "betas": 1.0}
    assert [lr_scale_at(stages, epoch) for epoch in (0, 2, 9)] == [1.0, 0.1, 0.1]
    assert stepped({"a": 0}, {}, 3) == {"a": 0}
    with pytest.raises(ValueError, match="`lr_scale` must be above 0"):
        CurriculumStage(0, {}, 0.0)


def test_what_cannot_be_trained_is_told(data: Path, tmp_path: Path) -> None:
    out = ["--data", str(data), "--out", str(tmp_path / "run"), *SMALL]
    for option, told in (
        ("--model.loss.joint_weights={elbow: 1}", "`joint_weights` must be of joints of the body"),
        ("--model.model.max_cameras=2", "of at most max_cameras = 2; got 3"),
        ('--model.curriculum=[{"epoch": 0, "weights": {"huber": 1}}]', "`weights` must be of keypoints"),
        ("--model.calibrated_share=2", r"`calibrated_share` must be in \[0,1\]"),
        ("--data.body=mouse", "names of at least 3 joints"),
    ):
        with pytest.raises((ValueError, SystemExit), match=told):
            run_training([*out, option])
