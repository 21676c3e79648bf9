"""The DataModule: batches, splits, the check at set-up, processes, going on within an epoch."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs the extra `train`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")

from refkp.systems.multiview.batch import MultiviewBatch
from refkp.systems.multiview.body.species import quadruped
from refkp.systems.multiview.data.augmentation import ViewAugmentation
from refkp.systems.multiview.data.datamodule import MultiviewData
from tests.systems.multiview.stored import SIZE, write_store

JOINTS = quadruped().joint_names


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "samples.h5", sessions=("a", "b", "c"))


def multiview_data(path: Path, **options: object) -> MultiviewData:
    """Batches of three samples, set up."""
    data = MultiviewData(str(path), **{"batch_size": 3, "gap": 1, **options})  # type: ignore[arg-type]
    data.setup("fit")
    return data


def names(batches: Iterable[MultiviewBatch]) -> list[tuple[str, int]]:
    return [pair for batch in batches for pair in zip(batch.sessions, batch.frames, strict=True)]


def test_batches_of_training_and_held_out_blocks(path: Path) -> None:
    data = multiview_data(path, val_fraction=0.25)
    train, val = list(data.train_dataloader()), list(data.val_dataloader())
    assert isinstance(train[0], MultiviewBatch)
    assert train[0].images.shape[2:] == (3, SIZE, SIZE)
    assert len(names(val)) == 9
    apart = [abs(a - b) for s, a in names(train) for other, b in names(val) if s == other]
    assert min(apart) > 1
    assert data.held_out_names() == [f"{session} frame {frame}" for session, frame in names(val)]
    assert data.train_set.training
    assert not data.val_set.training
    assert data.specs() == {
        "cameras": ["cam0", "cam1", "cam2", "cam3"],
        "joints": list(JOINTS),
        "joint_map": None,
        "crop": "whole",
        "undistorted": True,
        "image_size": SIZE,
        "split": {"rule": "time", "fraction": 0.25, "gap": 1, "seed": 0},
    }


def test_sessions_held_out_whole_or_from_a_file_of_their_own(path: Path, tmp_path: Path) -> None:
    data = multiview_data(path, split="session", val_fraction=0.4)
    train, val = (set(names(loader)) for loader in (data.train_dataloader(), data.val_dataloader()))
    assert {session for session, _ in train} & {session for session, _ in val} == set()
    other = write_store(tmp_path / "other.h5", sessions=("d",))
    data = multiview_data(path, val_source=str(other))
    assert len(data.train_set) == 36
    assert {session for session, _ in names(data.val_dataloader())} == {"d"}


def test_a_copy_and_other_cameras_are_no_held_out_data(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "copy.h5")
    with pytest.raises(ValueError, match="training does not see"):
        multiview_data(path, val_source=str(tmp_path / "copy.h5"))
    assert len(multiview_data(path, val_source=str(path)).val_set) == 36  # asked for by name
    other = write_store(tmp_path / "b.h5", attributes={"canonical_camera_order": '["w", "x", "y", "z"]'})
    with pytest.raises(ValueError, match="camera_names"):
        multiview_data(path, val_source=str(other))


def test_set_up_tells_and_refuses_by_the_truth_through_the_cameras(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        multiview_data(path)
    assert "median px of 32: cam0 0.00, cam1 0.00" in caplog.text
    elsewhere = np.tile(np.array([0.0, 90.0, 0.0], dtype=np.float32), (12, len(JOINTS), 1))
    wrong = write_store(tmp_path / "wrong.h5", changed={"keypoints_3d": elsewhere})
    with pytest.raises(ValueError, match="inspect"):
        multiview_data(wrong)


def test_held_out_samples_are_the_same_in_every_epoch_and_training_is_not(path: Path) -> None:
    data = multiview_data(path, num_views=2, seed=4)
    seen = []
    for loader in (data.val_dataloader(), data.train_dataloader()):
        epochs = []
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            epochs.append(torch.cat([batch.images for batch in loader]))
        seen.append(torch.equal(*epochs))
    assert seen == [True, False]
    assert all(batch.images.shape[1] == 2 for batch in data.val_dataloader())


def test_a_loader_goes_on_where_it_was_with_the_same_draws(path: Path) -> None:
    options: dict[str, object] = {"num_views": 3, "augmentation": ViewAugmentation(jitter=0.1), "seed": 2}
    loader = multiview_data(path, **options).train_dataloader()
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    rest = list(batches)
    resumed = multiview_data(path, **options).train_dataloader()
    resumed.load_state_dict(state)
    again = list(resumed)
    assert names(rest) == names(again)
    for one, other in zip(rest, again, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.camera_indices, other.camera_indices)
        assert torch.equal(one.keypoints.nan_to_num(), other.keypoints.nan_to_num())


def test_one_camera_alone(path: Path) -> None:
    batch = next(iter(multiview_data(path, view="cam3", batch_size=2).train_dataloader()))
    assert batch.camera_indices.tolist() == [[3], [3]]


@pytest.mark.slow
def test_processes_change_nothing(path: Path) -> None:
    batches = []
    for num_workers in (0, 2):
        loader = multiview_data(path, num_views=2, num_workers=num_workers).train_dataloader()
        loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
        batches.append(list(loader))
    assert names(batches[0]) == names(batches[1])
    assert all(torch.equal(a.images, b.images) for a, b in zip(*batches, strict=True))
