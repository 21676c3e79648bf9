"""Samples of a file: which views, what numbers, and that nothing is made up."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")

from refkp.geometry.cameras import project
from refkp.systems.multiview.batch import VIEW_FIELDS, MultiviewSample
from refkp.systems.multiview.body.species import quadruped
from refkp.systems.multiview.data.augmentation import ViewAugmentation
from refkp.systems.multiview.data.dataset import MultiviewDataset
from refkp.systems.multiview.data.generator import make_session
from refkp.training.sampling import SampleIndex
from tests.systems.multiview.stored import SIZE, SPEC, write_store

JOINTS = quadruped().joint_names

TENSORS = (*VIEW_FIELDS, "points", "global_rot", "joint_rot", "trans", "betas")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store") / "samples.h5")


def same(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    """Bitwise, NaN included."""
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and a.dtype == b.dtype and a.numpy().tobytes() == b.numpy().tobytes()


def same_samples(a: MultiviewSample, b: MultiviewSample) -> bool:
    return all(same(getattr(a, name), getattr(b, name)) for name in TENSORS)


def test_a_sample_holds_what_was_true_of_the_session(path: Path) -> None:
    session, sample = make_session(SPEC), MultiviewDataset(path)[1]
    assert (sample.session, sample.frame) == ("one", 1)
    assert sample.images.shape == (4, 3, SIZE, SIZE)
    assert sample.images.dtype == torch.uint8
    assert sample.images[:, 2].float().mean((1, 2)).tolist() == [20, 30, 40, 50]  # by frame and view
    scale = torch.tensor([SIZE / 320, SIZE / 240])
    want = torch.from_numpy(session.labels[1]).float() * scale
    torch.testing.assert_close(sample.keypoints, want, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert torch.equal(sample.visibility > 0, torch.isfinite(want).all(-1))
    assert sample.points is not None
    metres = torch.from_numpy(session.points[1, :-1]).float() / 1000
    torch.testing.assert_close(sample.points[:-1], metres)
    assert sample.points[-1].isnan().all()  # missing, whatever number the file has there
    assert sample.t is not None
    torch.testing.assert_close(sample.t, session.calibration.rig.t.float() / 1000)


def test_true_points_through_true_cameras_hit_the_labels(path: Path) -> None:
    for sample in MultiviewDataset(path):
        assert sample.points is not None
        assert sample.K is not None
        assert sample.R is not None
        assert sample.t is not None
        uv = project(sample.points, sample.K, sample.R, sample.t).uv
        off = torch.linalg.vector_norm(uv - sample.keypoints, dim=-1) / SIZE
        assert float(off[~off.isnan()].max()) < 1e-3


def test_the_unit_of_the_world_changes_no_pixel(tmp_path: Path) -> None:
    pixels = []
    for scale in (0.001, 7.0):
        sample = MultiviewDataset(write_store(tmp_path / f"{scale}.h5", attributes={"world_scale": scale}))[1]
        assert sample.points is not None
        assert sample.t is not None
        pixels.append(project(sample.points, sample.K, sample.R, sample.t).uv)  # type: ignore[arg-type]
    torch.testing.assert_close(pixels[0], pixels[1], rtol=1e-4, atol=1e-4, equal_nan=True)


def test_a_file_that_tells_no_unit_is_refused_but_only_where_lengths_are_asked(tmp_path: Path) -> None:
    unitless = {"world_scale": None, "world_unit": None}
    with pytest.raises(ValueError, match="migrate"):
        MultiviewDataset(write_store(tmp_path / "a.h5", attributes=unitless))[0]
    nothing = np.zeros((12, 4), dtype=bool)
    no_lengths = {
        "has_camera": nothing,
        "has_3d_data": nothing[:, 0],
        "keypoints_3d_valid": np.zeros((12, len(JOINTS))),
    }
    sample = MultiviewDataset(write_store(tmp_path / "b.h5", attributes=unitless, changed=no_lengths))[0]
    assert sample.K is sample.R is sample.t is sample.points is None


def test_labels_that_nobody_gave_are_none_and_given_ones_are_there(tmp_path: Path) -> None:
    known = np.arange(12) % 2 == 0
    body = {
        "has_ground_truth_pose": known,
        "has_ground_truth_betas": ~known,
        "joint_rot": np.ones((12, len(JOINTS), 3)),
        "trans": np.full((12, 3), 500.0),
        "betas": np.full((12, 2), 3.0),
    }
    dataset = MultiviewDataset(write_store(tmp_path / "a.h5", changed=body))
    with_pose, with_betas = dataset[0], dataset[1]
    assert with_pose.betas is with_betas.global_rot is with_betas.joint_rot is with_betas.trans is None
    assert with_pose.global_rot is not None
    assert with_pose.global_rot.tolist() == [0, 0, 0]
    assert with_pose.trans is not None
    assert with_pose.trans.tolist() == [0.5, 0.5, 0.5]  # metres
    assert with_betas.betas is not None
    assert with_betas.betas.tolist() == [3, 3]


def test_a_view_without_a_camera_has_nan_and_none_where_no_view_has_one(tmp_path: Path) -> None:
    cameras = np.ones((12, 4), dtype=bool)
    cameras[:, 2] = cameras[1] = False
    dataset = MultiviewDataset(write_store(tmp_path / "a.h5", changed={"has_camera": cameras}))
    sample = dataset[3]  # views 0, 2, 3
    assert sample.K is not None
    assert sample.t is not None
    assert sample.K.isnan().flatten(1).any(1).tolist() == [False, True, False]
    assert sample.t.isnan().any(1).tolist() == [False, True, False]
    assert dataset[1].K is None


def test_intrinsics_of_a_raw_picture_become_those_of_the_stored_one(path: Path, tmp_path: Path) -> None:
    stored = MultiviewDataset(path)[1].K
    rig = make_session(SPEC).calibration.rig
    raw = {
        "camera_intrinsics": rig.K.expand(12, 4, 3, 3).numpy(),
        "image_sizes": np.broadcast_to((320, 240), (12, 4, 2)),
    }
    K = MultiviewDataset(write_store(tmp_path / "raw.h5", changed=raw))[1].K
    assert stored is not None
    torch.testing.assert_close(K, stored)


def test_pictures_that_a_lens_bends_are_refused(tmp_path: Path) -> None:
    lens = {"camera_distortion": np.full((12, 4, 5), 0.1)}
    bent = {"undistort_images": False}
    with pytest.raises(ValueError, match="--undistort"):
        MultiviewDataset(write_store(tmp_path / "bent.h5", attributes=bent, changed=lens))[0]
    assert MultiviewDataset(write_store(tmp_path / "none.h5", attributes=bent))[0].K is not None
    assert MultiviewDataset(write_store(tmp_path / "undone.h5", changed=lens))[0].K is not None


def test_without_a_number_all_views_that_are_there_come_unpadded(path: Path) -> None:
    indices = [sample.camera_indices.tolist() for sample in MultiviewDataset(path, training=True)]
    assert indices[1] == [0, 1, 2, 3]
    assert indices[3] == [0, 2, 3]
    assert indices[4] == [0, 2]


def test_training_draws_views_anew_in_each_epoch_and_never_one_that_is_not_there(path: Path) -> None:
    dataset = MultiviewDataset(path, num_views=2, training=True, seed=3)
    seen: dict[int, set[tuple[int, ...]]] = {}
    for epoch in range(20):
        for number in range(len(dataset)):
            sample = dataset[SampleIndex(epoch, number)]
            chosen = tuple(sample.camera_indices.tolist())
            assert len(set(chosen)) == 2
            assert dataset.store.samples.view_mask[number, list(chosen)].all()
            assert chosen == tuple(sorted(chosen))
            seen.setdefault(number, set()).add(chosen)
    assert seen[1] == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert seen[3] == {(0, 2), (0, 3), (2, 3)}


def test_views_are_left_out_by_chance_and_one_always_stays(path: Path) -> None:
    dataset = MultiviewDataset(path, drop_probability=0.5, training=True)
    counts = [
        len(dataset[SampleIndex(epoch, number)].camera_indices)
        for epoch in range(30)
        for number in range(len(dataset))
    ]
    there = 30 * int(dataset.store.samples.view_mask[dataset.numbers].sum())
    assert min(counts) == 1
    assert 0.45 < sum(counts) / there < 0.6
    always = MultiviewDataset(path, drop_probability=1.0, training=True)
    seen = [always[SampleIndex(epoch, 1)].camera_indices.tolist() for epoch in range(30)]
    assert {tuple(views) for views in seen} == {(0,), (1,), (2,), (3,)}
    judged = MultiviewDataset(path, drop_probability=1.0)
    assert judged[1].camera_indices.tolist() == [0, 1, 2, 3]


def test_judging_takes_the_first_views_in_every_epoch(path: Path) -> None:
    dataset = MultiviewDataset(path, num_views=2, permute_probability=1.0, augmentation=ViewAugmentation())
    for epoch in range(3):
        assert dataset[SampleIndex(epoch, 3)].camera_indices.tolist() == [0, 2]
    plain = MultiviewDataset(path, num_views=2)[3]
    assert same_samples(dataset[SampleIndex(0, 3)], plain)
    assert same_samples(dataset[SampleIndex(2, 3)], plain)


def test_more_views_than_there_are_pads_nothing(path: Path) -> None:
    assert len(MultiviewDataset(path, num_views=3, training=True)[4].images) == 2


def test_one_view_has_the_numbers_it_has_among_several(path: Path) -> None:
    together, alone = MultiviewDataset(path), MultiviewDataset(path, view="cam3")
    assert len(alone) == 6
    for place, number in enumerate(alone.numbers):
        sample, among = alone[place], together[number]
        slot = among.camera_indices.tolist().index(3)
        for name in VIEW_FIELDS:
            assert same(getattr(sample, name), getattr(among, name)[slot : slot + 1]), name
        assert same(sample.points, among.points)


def test_permuted_views_take_everything_with_them(path: Path) -> None:
    plain, permuted = MultiviewDataset(path), MultiviewDataset(path, training=True, permute_probability=1.0)
    orders = set()
    for number in range(len(plain)):
        want, got = plain[number], permuted[number]
        order = [want.camera_indices.tolist().index(camera) for camera in got.camera_indices.tolist()]
        orders.add(tuple(order))
        for name in VIEW_FIELDS:
            assert same(getattr(got, name), getattr(want, name)[order].contiguous()), name
        assert same(got.points, want.points)
    assert len(orders) > 4
    often = MultiviewDataset(path, training=True, permute_probability=0.5)
    count = sum(often[SampleIndex(epoch, 1)].camera_indices.tolist() != [0, 1, 2, 3] for epoch in range(100))
    assert 30 < count < 65  # one order in 24 is the plain one


def test_augmentation_keeps_cameras_points_and_crops_exact(path: Path) -> None:
    dataset = MultiviewDataset(path, training=True, augmentation=ViewAugmentation(zoom=0.3, jitter=0.2))
    plain = MultiviewDataset(path)
    for number in range(len(dataset)):
        sample, before = dataset[number], plain[number]
        assert sample.points is not None
        uv = project(sample.points, sample.K, sample.R, sample.t).uv  # type: ignore[arg-type]
        off = torch.linalg.vector_norm(uv - sample.keypoints, dim=-1)
        assert float(off[~off.isnan()].max()) < 1e-2
        assert same(sample.t, before.t)
        assert same(sample.points, before.points)
        assert sample.crop_affine is not None
        raw = torch.from_numpy(make_session(SPEC).labels[number])[sample.camera_indices].float()
        moved = raw @ sample.crop_affine[..., :2].mT + sample.crop_affine[..., None, :, 2]
        torch.testing.assert_close(sample.keypoints, moved, rtol=1e-4, atol=1e-3, equal_nan=True)


def test_samples_are_the_same_in_workers_in_another_order_and_after_pickling(path: Path) -> None:
    options = {
        "num_views": 2,
        "permute_probability": 0.5,
        "augmentation": ViewAugmentation(),
        "training": True,
    }
    dataset = MultiviewDataset(path, seed=7, **options)  # type: ignore[arg-type]
    here = [dataset[SampleIndex(2, number)] for number in range(6)]
    backwards = [MultiviewDataset(path, seed=7, **options)[SampleIndex(2, n)] for n in reversed(range(6))]  # type: ignore[arg-type]
    assert all(map(same_samples, here, reversed(backwards)))
    sent = pickle.loads(pickle.dumps(dataset))
    assert same_samples(here[3], sent[SampleIndex(2, 3)])
    order = [SampleIndex(2, number) for number in range(6)]
    loader = DataLoader(dataset, batch_size=None, sampler=order, num_workers=2)  # type: ignore[arg-type]
    assert all(map(same_samples, here, loader))
    assert not same_samples(here[3], dataset[SampleIndex(3, 3)])
    other = MultiviewDataset(path, seed=8, **options)  # type: ignore[arg-type]
    assert not same_samples(here[3], other[SampleIndex(2, 3)])


def test_samples_that_no_camera_saw_are_left_out(tmp_path: Path) -> None:
    mask = np.ones((12, 4), dtype=bool)
    mask[5] = False
    dataset = MultiviewDataset(write_store(tmp_path / "a.h5", view_mask=mask))
    assert dataset.numbers == [0, 1, 2, 3, 4, *range(6, 12)]
    with pytest.raises(ValueError, match="samples"):
        MultiviewDataset(tmp_path / "a.h5", samples=[5])


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"num_views": 0}, "num_views"),
        ({"view": "cam9"}, "cam0"),
        ({"permute_probability": 2.0}, "permute"),
        ({"drop_probability": -1.0}, "drop"),
    ],
)
def test_errors_name_the_argument(path: Path, options: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        MultiviewDataset(path, **options)  # type: ignore[arg-type]


def test_a_picture_of_another_size_is_named(path: Path, tmp_path: Path) -> None:
    broken = write_store(tmp_path / "a.h5", attributes={"target_resolution": 64})
    with pytest.raises(ValueError, match="frame 2, cam0"):
        MultiviewDataset(broken)[2]
