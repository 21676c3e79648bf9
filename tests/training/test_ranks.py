"""Two processes with the global batch of one: equal parameters on both, and the losses of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

L = pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("jsonargparse", reason="needs the extra `train`")
pytest.importorskip("tensorboard", reason="needs the extra `train`")
pytest.importorskip("rich", reason="needs the extra `train`")

from refkp.training.curves import read_curves  # noqa: E402
from tests.structure.tree import ROOT  # noqa: E402


class SameWeights(L.Callback):
    """Compares the parameters of both ranks after each step; the processes load it by name."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        flat = torch.cat([value.detach().flatten() for value in pl_module.parameters()])
        first, second = pl_module.all_gather(flat)
        assert torch.equal(first, second)
        assert bool(flat.isfinite().all())


def losses(folder: Path, command: list[str], *, ranks: int, batch_size: int) -> list[float]:
    """The loss of five steps, in as many processes."""
    options = [
        *(f"--out={folder}", f"--data.batch_size={batch_size // ranks}", "--trainer.max_epochs=-1"),
        *(
            "--trainer.max_steps=5",
            "--trainer.check_val_every_n_epoch=null",
            "--trainer.val_check_interval=5",
        ),
        *("--trainer.log_every_n_steps=1", "--device=cpu", "--precision=32-true"),
        f"--trainer.devices={ranks}",
    ]
    if ranks > 1:
        options += ["--trainer.strategy=ddp", "--trainer.callbacks+=tests.training.test_ranks.SameWeights"]
    subprocess.run(
        [sys.executable, "-m", *command, *options], cwd=ROOT, env=os.environ, check=True, timeout=500
    )
    stage = max((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    return read_curves(stage, ["train/total"])["train/total"][1]


def assert_two_are_as_one(
    folder: Path, command: list[str], *, batch_size: int = 4, rounding: float = 1e-6
) -> None:
    one = losses(folder / "one", command, ranks=1, batch_size=batch_size)
    two = losses(folder / "two", command, ranks=2, batch_size=batch_size)
    assert len(one) == 5
    assert two == pytest.approx(one, rel=rounding)


@pytest.mark.slow
def test_the_small_system(tmp_path: Path) -> None:
    """Its data and batches are drawn at random; dropout is left out, whose draws are each rank's own."""
    command = ["tests.training.small_system", "--config", "tiny", "--model.drop=0", "--model.noise=0"]
    assert_two_are_as_one(tmp_path, command)


@pytest.mark.slow
@pytest.mark.parametrize(("pose_weight", "rounding"), [(0.0, 1e-6), (0.1, 2e-5)])
def test_pose(pose_weight: float, rounding: float, tmp_path: Path) -> None:
    """Labels, visible pixels and objects are counted over both ranks.

    The pose loss magnifies rounding: one process whose first weights are changed by their last bit has losses that
    differ by 6e-6, 7e-6 and 1e-5 (three draws) at the step where two processes differ by 9e-6.
    """
    pytest.importorskip("trimesh", reason="needs the extra `pose`")
    pytest.importorskip("embreex", reason="needs the extra `pose`")
    pytest.importorskip("PIL", reason="needs the extra `viz`")
    pytest.importorskip("cv2", reason="needs the extra `pose`")
    pytest.importorskip("rich", reason="needs the extra `train`")
    from tests.systems.pose.training.small import SMALL, write_data

    data = write_data(tmp_path / "data", num_scenes=16)
    options = [*SMALL, "--model.model.attention.drop_path=0", f"--model.loss.pose.weight={pose_weight}"]
    command = ["refkp", "train", "pose", "--data", str(data), *options]
    assert_two_are_as_one(tmp_path, command, rounding=rounding)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["vision", "resampler"])
@pytest.mark.parametrize("scope", ["pair", "all"])
def test_panorama(stage: str, scope: str, tmp_path: Path) -> None:
    """Answers of unequal length are counted over both ranks, and so are the statistics of scope "all"."""
    pytest.importorskip("transformers", reason="needs the extra `panorama`")
    pytest.importorskip("peft", reason="needs the extra `panorama`")
    pytest.importorskip("PIL", reason="needs the extra `viz`")
    pytest.importorskip("rich", reason="needs the extra `train`")
    from refkp.systems.panorama.training.system import run_training
    from tests.systems.panorama.conftest import write_captions, write_panoramas
    from tests.systems.panorama.training.small import arguments

    table = write_captions(write_panoramas(tmp_path))
    options = arguments(table, tmp_path / "one", f"--model.loss.scope={scope}", "--data.repeat=4")
    options += ["--data.jitter_deg=5", "--data.augmentation=full", f"--stage={stage}"]
    if stage == "resampler":
        first = arguments(table, tmp_path / "one", f"--model.loss.scope={scope}")
        run_training(first)
        run_training([option.replace("/one", "/two") for option in first])
    command = ["refkp", "train", "panorama", *options]
    one = losses(tmp_path / "one", command, ranks=1, batch_size=4)
    two = losses(tmp_path / "two", command, ranks=2, batch_size=4)
    assert two == pytest.approx(one, rel=1e-6)


@pytest.mark.slow
def test_multiview(tmp_path: Path) -> None:
    """Visible joints, points and cameras are counted over both ranks: one sees a sample with few of them."""
    pytest.importorskip("transformers", reason="needs the extra `multiview`")
    pytest.importorskip("embreex", reason="needs the extra `multiview`")
    pytest.importorskip("cv2", reason="needs the extra `multiview`")
    pytest.importorskip("PIL", reason="needs the extra `viz`")
    pytest.importorskip("trimesh", reason="needs the extra `multiview`")
    h5py = pytest.importorskip("h5py", reason="needs the extra `multiview`")

    from tests.systems.multiview.training.small import SMALL, write_data

    data = write_data(tmp_path / "samples.h5", num_animals=8)
    with h5py.File(data, "r+") as file:
        file["multiview_keypoints/keypoint_visibility"][::2, :, 3:] = 0
        file["multiview_keypoints/keypoints_3d_valid"][::2, 5:] = False
        file["multiview_keypoints/has_camera"][::4, 1] = False
    assert_two_are_as_one(tmp_path, ["refkp", "train", "multiview", "--data", str(data), *SMALL])
