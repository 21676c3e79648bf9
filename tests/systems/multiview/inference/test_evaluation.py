"""Predictors judged: one that is right, one that is off by a known amount, constants, triangulation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip("embreex", reason="needs the extra `multiview`")
pytest.importorskip("trimesh", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("transformers", reason="needs the extra `multiview`")

from refkp.geometry.rotations import rotation_angle_between
from refkp.systems.multiview.batch import VIEW_FIELDS, MultiviewBatch
from refkp.systems.multiview.body.species import species_body
from refkp.systems.multiview.data.collation import collate
from refkp.systems.multiview.data.dataset import MultiviewDataset
from refkp.systems.multiview.data.prior import training_prior
from refkp.systems.multiview.data.rendered import render_samples
from refkp.systems.multiview.data.sample_spec import SampleSpec
from refkp.systems.multiview.inference.evaluation import errors_of, evaluate, mean_joints
from refkp.systems.multiview.inference.predictor import (
    ConstantPredictor,
    Prediction,
    SpacePredictor,
    TriangulationPredictor,
)
from refkp.systems.multiview.losses.truth import Truth, truth_of

SIZE = 32


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "samples.h5"
    render_samples(
        path, species_body("insect"), SampleSpec(num_animals=3, num_poses=4, num_views=3, size=SIZE), 5
    )
    return path


@pytest.fixture(scope="module")
def dataset(file: Path) -> MultiviewDataset:
    return MultiviewDataset(file)


@pytest.fixture(scope="module")
def batches(dataset: MultiviewDataset) -> list[MultiviewBatch]:
    return list(DataLoader(dataset, 5, collate_fn=collate))


class Moved:
    """The truth, 3 mm to the side, by the true cameras."""

    def __call__(self, batch: MultiviewBatch, truth: Truth) -> Prediction:
        return Prediction(truth.points + torch.tensor([0.003, 0, 0]), truth.cameras)


def test_predictors_are_judged(dataset: MultiviewDataset, batches: list[MultiviewBatch]) -> None:
    mean = mean_joints(dataset)
    told = evaluate(
        batches,
        {"moved": Moved(), "mean": ConstantPredictor(mean), "other": ConstantPredictor(mean + 0.01),
         "lines": TriangulationPredictor()},
        SIZE,
        3,
    )  # fmt: skip
    rows = {row.name: row for row in told}
    assert rows["moved"].mpjpe_mm == pytest.approx(3.0, abs=1e-3)
    assert rows["moved"].pa_mpjpe_mm < 1e-3
    assert rows["moved"].camera_deg < 1e-4
    assert 0 < rows["moved"].error_px < 2
    assert rows["moved"].native_px == pytest.approx(rows["moved"].error_px)  # the crop is the whole picture
    assert len(rows["moved"].view_median_px) == 3
    assert rows["moved"].pck_px == rows["moved"].pck_native_px
    assert list(rows["moved"].pck_px) == sorted(rows["moved"].pck_px)
    assert rows["moved"].pck_px[-1] == 1
    assert len(rows["moved"].joint_mpjpe_mm) == 24
    assert rows["lines"].mpjpe_mm < 0.01
    assert rows["mean"].mpjpe_mm < rows["other"].mpjpe_mm
    assert rows["lines"].error_px < 0.01
    assert 0 < rows["mean"].error_px < SIZE  # through the true cameras
    assert rows["mean"].camera_deg != rows["mean"].camera_deg  # it says nothing of cameras


def test_errors_belong_to_their_cameras_and_crops(batches: list[MultiviewBatch]) -> None:
    """Views in another order and one that is not shown: the errors stay those of their cameras, in raw pixels too."""
    batch = batches[0]
    assert batch.crop_affine is not None
    half = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.25, 0.0]])
    batch = batch._replace(crop_affine=half.expand_as(batch.crop_affine))
    order = torch.tensor([2, 1, 0])
    turned = batch._replace(**{name: getattr(batch, name)[:, order] for name in VIEW_FIELDS})
    turned.view_mask[:, 1] = False
    told = []
    for shown in (batch, turned):
        truth = truth_of(shown)
        truth = truth._replace(keypoints=truth.keypoints + torch.tensor([0.1, 0.0]))
        seen = Prediction(truth.points, truth.cameras)
        told.append(errors_of(seen, shown, truth, 4))
    first, second = told
    known = ~first.pixels[:, [0, 2]].isnan()
    torch.testing.assert_close(
        second.pixels[:, [0, 2]], first.pixels[:, [0, 2]], rtol=0, atol=1e-3, equal_nan=True
    )
    assert float((first.pixels[:, [0, 2]][known] - 0.1).abs().max()) < 1e-3
    assert float((first.native[:, [0, 2]][known] - 0.2).abs().max()) < 2e-3
    assert second.pixels[:, [1, 3]].isnan().all()


def test_points_of_a_file_are_those_of_the_frames(dataset: MultiviewDataset) -> None:
    """The true points of the first animal in its world are right for its samples, and unknown for frames without."""
    batch = collate([dataset[place] for place in range(4)])
    assert batch.points is not None
    missing = SpacePredictor(batch.points[1:3].double(), 1)
    told = missing(batch, truth_of(batch))
    off = (told.joints - truth_of(batch).points).norm(dim=-1)
    assert float(off[1:3].max()) < 1e-6
    assert told.joints[[0, 3]].isnan().all()


def test_truth_is_told_in_the_frame_of_the_first_view(batches: list[MultiviewBatch]) -> None:
    batch = batches[0]
    truth = truth_of(batch)
    assert batch.R is not None
    assert batch.t is not None
    assert batch.points is not None
    want = batch.points @ batch.R[:, 0].mT + batch.t[:, :1]
    torch.testing.assert_close(truth.points, want, rtol=0, atol=1e-5)
    torch.testing.assert_close(truth.cameras.R[:, 0], torch.eye(3).expand(len(want), 3, 3), rtol=0, atol=1e-5)
    others = batch.known.cameras & torch.tensor([False, True, True])
    truth = truth_of(batch._replace(known=batch.known._replace(cameras=others)))
    assert not truth.has_camera.any()
    assert not truth.has_point.any()
    assert bool(torch.isfinite(truth.points).all())


def test_the_prior_is_the_mean_of_the_training_set(file: Path) -> None:
    body = species_body("insect")
    prior = training_prior(MultiviewDataset(file), body)
    assert prior.size is not None
    assert prior.unit is not None
    assert float(prior.unit) == pytest.approx(0.08, rel=0.2)  # metres
    assert bool((prior.depth > 0.1).all())
    torch.testing.assert_close(prior.K[:, 2:], torch.full((3, 2), 0.5))
    torch.testing.assert_close(prior.R @ prior.R.mT, torch.eye(3).expand(3, 3, 3), rtol=0, atol=1e-5)
    from_common = rotation_angle_between(prior.R, torch.eye(3)).rad2deg()
    assert float(from_common.min()) < 0.1  # the camera that all are told from
    assert float(from_common.median()) > 30


def test_rendered_files_repeat_and_seeds_are_other_animals(tmp_path: Path, file: Path) -> None:
    body, spec = species_body("insect"), SampleSpec(num_animals=3, num_poses=4, num_views=3, size=SIZE)
    for name, seed in (("same.h5", 5), ("other.h5", 6)):
        render_samples(tmp_path / name, body, spec, seed)
    first, same, other = (
        MultiviewDataset(path) for path in (file, tmp_path / "same.h5", tmp_path / "other.h5")
    )
    assert torch.equal(first[7].images, same[7].images)
    assert torch.equal(first[7].keypoints, same[7].keypoints)
    betas = [
        torch.stack([dataset.described(place).betas for place in range(12)]) for dataset in (first, other)
    ]
    assert float((betas[0][:, None] - betas[1]).abs().amax(-1).min()) > 1e-3
    assert torch.equal(betas[0][0], betas[0][3])  # one animal
    later = SampleSpec(num_animals=1, first_animal=2, num_poses=4, num_views=3, size=SIZE)
    render_samples(tmp_path / "later.h5", body, later, 5)
    third = MultiviewDataset(tmp_path / "later.h5")
    assert torch.equal(third[1].images, first[9].images)  # the third animal, before the same rig
    assert third[1].session == first[9].session
