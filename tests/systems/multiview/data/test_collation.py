"""Batches: what one says of a sample is bitwise what the sample says, whoever else is in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")

from refkp.geometry.cameras import project
from refkp.systems.multiview.batch import MultiviewBatch, MultiviewSample
from refkp.systems.multiview.data.collation import collate
from refkp.systems.multiview.data.dataset import MultiviewDataset
from refkp.systems.multiview.metrics.points import point_errors, share_correct, summarise
from tests.systems.multiview.stored import write_store

VIEWS = ("images", "view_mask", "camera_indices", "keypoints", "visibility", "K", "R", "t", "crop_affine")
LABELS = ("points", "global_rot", "joint_rot", "trans", "betas")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[MultiviewSample]:
    known = np.arange(12) % 2 == 0
    cameras = np.ones((12, 4), dtype=bool)
    cameras[0] = False
    changed = {
        "has_ground_truth_pose": known,
        "has_ground_truth_betas": ~known,
        "has_camera": cameras,
        "has_3d_data": np.arange(12) != 4,
        "global_rot": np.random.default_rng(0).normal(size=(12, 3)),
    }
    path = write_store(tmp_path_factory.mktemp("store") / "samples.h5", changed=changed)
    return list(MultiviewDataset(path))


def equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bitwise, but that any NaN is like another."""
    return (
        torch.equal(a, b)
        if not a.is_floating_point()
        else torch.equal(a.nan_to_num(-9e9), b.nan_to_num(-9e9))
    )


def test_a_batch_keeps_every_number_and_pads_with_what_nobody_takes_for_one(
    samples: list[MultiviewSample],
) -> None:
    batch = collate(samples)
    assert batch.images.shape[:2] == (12, 4)
    for row, sample in enumerate(samples):
        n = len(sample.images)
        for name in VIEWS:
            part, whole = getattr(sample, name), getattr(batch, name)
            if part is not None:
                assert equal(whole[row, :n], part), name
            elif whole.is_floating_point():
                assert whole[row].isnan().all(), name
        for name in ("keypoints", "K", "R", "t", "crop_affine"):
            assert getattr(batch, name)[row, n:].isnan().all(), name
        for name in ("images", "view_mask", "camera_indices", "visibility"):
            assert not getattr(batch, name)[row, n:].any(), name
        for name in LABELS:
            part = getattr(sample, name)
            if part is not None:
                assert equal(getattr(batch, name)[row], part), name
            else:
                assert getattr(batch, name)[row].isnan().all(), name
    assert batch.view_mask.sum(1).tolist() == [len(sample.images) for sample in samples]
    assert (batch.sessions, batch.frames) == (("one",) * 12, tuple(range(12)))


def test_masks_tell_which_labels_there_are(samples: list[MultiviewSample]) -> None:
    known = collate(samples).known
    even = torch.arange(12) % 2 == 0
    assert torch.equal(known.pose, even)
    assert torch.equal(known.betas, ~even)
    assert not known.cameras[0].any()
    assert known.cameras[1].tolist() == [True] * 4
    assert known.cameras[4].tolist() == [True, True, False, False]  # two views, two slots that pad
    assert known.crop_affine[3].tolist() == [True, True, True, False]
    assert not known.points[4].any()
    assert known.points[1].sum() == known.points.shape[1] - 1


def test_a_label_that_nobody_has_is_none(samples: list[MultiviewSample]) -> None:
    batch = collate([samples[0], samples[2]._replace(betas=None)])
    assert batch.betas is None
    assert batch.known.betas.tolist() == [False, False]
    assert collate(samples[:1]).K is None


def measured(batch: MultiviewBatch) -> list[torch.Tensor]:
    """Numbers of each sample that read every label of its views."""
    assert batch.K is not None
    assert batch.R is not None
    assert batch.t is not None
    assert batch.points is not None
    uv = project(batch.points[:, None], batch.K, batch.R, batch.t).uv
    known = batch.known.cameras[..., None] & batch.known.points[:, None] & (batch.visibility > 0)
    errors = point_errors(uv, batch.keypoints, known)
    return [
        torch.tensor(
            [
                *share_correct(row, torch.tensor([0.001, 1.0])),
                summarise(row).mean,
                *summarise(row).percentiles,
            ]
        )
        for row in errors
    ]


def test_batch_mates_and_padding_change_nothing_bitwise(samples: list[MultiviewSample]) -> None:
    few, many = samples[3], samples[1]  # three views, four views
    alone, together = collate([few]), collate([few, many])
    assert together.images.shape[1] > alone.images.shape[1]
    assert torch.equal(measured(alone)[0], measured(together)[0])
    assert torch.equal(measured(together)[0], measured(collate([many, few]))[1])
    n = len(few.images)
    for name in VIEWS:
        assert equal(getattr(together, name)[0, :n], getattr(alone, name)[0]), name
    for name in together.known._fields:
        mine = getattr(together.known, name)[0]
        assert torch.equal(
            mine[:n] if name in ("cameras", "crop_affine") else mine, getattr(alone.known, name)[0]
        )


def test_no_sample_makes_no_batch() -> None:
    with pytest.raises(ValueError, match="empty"):
        collate([])
