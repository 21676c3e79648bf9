"""The DataModule: batches, splits, processes, resuming within an epoch under Lightning."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

L = pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("embreex", reason="needs the extra `pose`")
pytest.importorskip("PIL", reason="needs the extra `viz`")
pytest.importorskip("cv2", reason="needs the extra `pose`")
pytest.importorskip("rich", reason="needs the extra `train`")
pytest.importorskip("trimesh", reason="needs the extra `pose`")

from refkp.systems.pose.data.augmentation import QueryAugmentation  # noqa: E402
from refkp.systems.pose.data.datamodule import PoseData, open_source  # noqa: E402
from refkp.systems.pose.data.dataset import SampleSpec  # noqa: E402
from refkp.systems.pose.views import PoseBatch  # noqa: E402
from tests.systems.pose.data.test_dataset import assert_equal  # noqa: E402


def pose_data(root: Path, **options: object) -> PoseData:
    """Batches of two samples with three templates each, 32 x 32 pixels."""
    options = {"samples": SampleSpec(2, 1), "image_size": 32, "batch_size": 2, **options}
    data = PoseData(str(root), **options)  # type: ignore[arg-type]
    data.setup("fit")
    return data


def test_batches_and_held_out_scenes(pose_root: Path) -> None:
    data = pose_data(pose_root, val_fraction=0.25)
    train, val = list(data.train_dataloader()), list(data.val_dataloader())
    assert isinstance(train[0], PoseBatch)
    assert train[0].query.size == (32, 32)
    scenes = [{key.split("_")[0] for batch in part for key in batch.keys} for part in (train, val)]
    assert len(scenes[1]) == 2
    assert not scenes[0] & scenes[1]
    assert len(scenes[0] | scenes[1]) == 8
    assert data.train_set.augmentation is not None
    assert data.val_set.augmentation is None


def test_held_out_pictures_of_their_own(pose_root: Path) -> None:
    data = pose_data(pose_root, val_source=str(pose_root))
    assert len(data.train_set) == len(data.val_set)


@pytest.mark.slow
def test_processes_change_nothing(pose_root: Path) -> None:
    batches = []
    for num_workers in (0, 2):
        loader = pose_data(pose_root, num_workers=num_workers).train_dataloader()
        loader.sampler.set_epoch(1)
        batches.append(list(loader))
    assert len(batches[0]) > 2
    assert_equal(tuple(batches[0]), tuple(batches[1]))


class _Recorder(L.LightningModule):
    """Writes down what it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, tuple[str, ...], torch.Tensor]] = []

    def training_step(self, batch: PoseBatch, _: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, batch.keys, batch.query.K))
        return self.layer(batch.query.images.mean()[None]).sum()

    def validation_step(self, batch: PoseBatch, _: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def _train(root: Path, out: Path, *, steps: int, resume: Path | None = None) -> tuple[_Recorder, Path]:
    """Train on and save the last step."""
    save = L.pytorch.callbacks.ModelCheckpoint(out, save_top_k=-1, every_n_train_steps=1, filename="{step}")
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_steps=steps, accelerator="cpu", callbacks=[save], limit_val_batches=0, **quiet)
    recorder = _Recorder()
    trainer.fit(recorder, pose_data(root), ckpt_path=resume)
    return recorder, out / f"step={steps}.ckpt"


@pytest.mark.filterwarnings("error:.*not resumable.*")
def test_a_run_goes_on_within_an_epoch(pose_root: Path, tmp_path: Path) -> None:
    per_epoch = len(pose_data(pose_root).train_dataloader())
    total = 2 * per_epoch + 2
    whole, _ = _train(pose_root, tmp_path / "whole", steps=total)
    assert [epoch for epoch, _, _ in whole.seen] == [0] * per_epoch + [1] * per_epoch + [2] * 2
    for stop in (2, per_epoch, per_epoch + 3):
        out = tmp_path / f"parts{stop}"
        first, checkpoint = _train(pose_root, out, steps=stop)
        second, _ = _train(pose_root, out, steps=total, resume=checkpoint)
        assert_equal(tuple(first.seen + second.seen), tuple(whole.seen))


def test_errors_name_the_remedy(pose_root: Path, tmp_path: Path) -> None:
    shutil.copytree(pose_root / "shards", tmp_path / "shards")
    with pytest.raises(ValueError, match="Render them with `refkp pose render-templates`"):
        pose_data(tmp_path)
    with pytest.raises(ValueError, match="`refkp pose generate` writes such a folder"):
        open_source(tmp_path, "train")
    with pytest.raises(ValueError, match=r"a multiple of `patch_size` \(16\); got 40"):
        pose_data(pose_root, image_size=40)
    with pytest.raises(ValueError, match="`batch_size` must be at least 1"):
        pose_data(pose_root, batch_size=0)
    with pytest.raises(ValueError, match="`val_fraction` must be inside"):
        pose_data(pose_root, val_fraction=1.0)


def test_augmentation_can_be_left_out(pose_root: Path) -> None:
    assert pose_data(pose_root, augmentation=None).train_set.augmentation is None
    assert pose_data(pose_root, augmentation=QueryAugmentation(0.5)).train_set.augmentation is not None


def test_a_shard_that_is_also_held_out_is_an_error(pose_root: Path, tmp_path: Path) -> None:
    shutil.copytree(pose_root, tmp_path / "held_out")
    with pytest.raises(ValueError, match=r"held_out.*which is equal to .* in training"):
        pose_data(pose_root, val_source=str(tmp_path / "held_out"))
