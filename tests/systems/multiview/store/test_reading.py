"""Samples come out in canonical slots from files of all versions; what is not known is None; broken files are told."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra `multiview`")

from refkp.systems.multiview.store.reading import SampleStore
from refkp.systems.multiview.store.schema import Dimensions
from refkp.systems.multiview.store.writing import StoreWriter, complete_rows
from tests.systems.multiview.store.old_files import (
    JOINTS,
    NAMES,
    SEEN,
    SIZE,
    camera,
    jpeg,
    keypoints,
    write_packed,
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    write_packed(tmp_path / "old.h5")
    return tmp_path / "old.h5"


def _check_slots(path: Path) -> None:
    with SampleStore(path) as store:
        assert store.info.camera_names == NAMES
        for number, views in enumerate(SEEN):
            sample = store.read(number)
            assert np.flatnonzero(sample.view_mask).tolist() == sorted(views)
            for view in range(len(NAMES)):
                there = view in views
                assert sample.jpegs[view] == (jpeg(number, view) if there else b"")
                want = keypoints(number)[view] if there else np.zeros((JOINTS, 2))
                np.testing.assert_array_equal(sample.keypoints_yx[view], want)


def test_slots_of_packed_files_become_cameras(old: Path) -> None:
    _check_slots(old)
    with SampleStore(old) as store:
        assert (store.info.schema_version, store.info.size, store.info.num_joints) == (1, SIZE, JOINTS)
        assert store.info.world_scale is store.info.world_unit is store.info.joint_names is None
        assert store.samples.sessions.tolist() == ["a", "a", "b"]
        assert store.samples.frames.tolist() == [4, 9, 4]
        sample = store.read(0)
        assert sample.cameras is not None
        for part, want in zip(sample.cameras[1:4], camera(2), strict=True):
            np.testing.assert_allclose(part[2], want, rtol=1e-6)
        assert sample.cameras.size.tolist() == [[SIZE] * 2, [0, 0], [SIZE] * 2, [0, 0]]
        assert sample.cameras.distortion is sample.cameras.crop_affine is sample.cameras.raw_size is None


def test_slots_are_told_by_names_where_there_are_no_indices(tmp_path: Path) -> None:
    write_packed(tmp_path / "a.h5", changes={"multiview_keypoints/camera_indices": None})
    _check_slots(tmp_path / "a.h5")
    names = np.full((len(SEEN), 3), b"", dtype=object)
    for row, views in enumerate(SEEN):
        names[row, : len(views)] = [NAMES[view].encode() for view in views]
    changes = {"multiview_keypoints/camera_indices": None, "auxiliary/camera_names": names}
    write_packed(tmp_path / "b.h5", changes=changes)
    _check_slots(tmp_path / "b.h5")


def test_what_is_not_known_is_none_and_the_identity_is_no_camera(old: Path) -> None:
    with SampleStore(old) as store:
        first, second, third = (store.read(number) for number in range(3))
    assert third.cameras is None
    assert second.cameras is not None
    assert second.cameras.known.tolist() == [False, True, True, False]
    assert not second.cameras.K[3].any()
    assert third.points is third.points_valid is None
    assert first.points_valid is not None
    assert first.points_valid.tolist() == [False, True, True, True, True]
    assert first.betas is None
    assert second.betas is not None
    assert first.global_rot is first.joint_rot is first.trans is None


def test_a_pose_is_there_when_it_is_not_zero_or_the_flag_says_so(tmp_path: Path) -> None:
    turned = np.zeros((3, 3), dtype=np.float32)
    turned[1] = 0.5
    write_packed(tmp_path / "a.h5", changes={"parameters/global_rot": turned})
    with SampleStore(tmp_path / "a.h5") as store:
        assert store.read(0).trans is None
        np.testing.assert_array_equal(store.read(1).global_rot, turned[1])
        assert store.read(1).trans is not None
    flag = np.array([True, False, False])
    write_packed(tmp_path / "b.h5", changes={"auxiliary/has_ground_truth_pose": flag})
    with SampleStore(tmp_path / "b.h5") as store:
        assert store.read(0).global_rot is not None
        assert store.read(1).global_rot is None


def test_a_store_can_be_sent_and_forked(old: Path) -> None:
    store = SampleStore(old)
    assert pickle.loads(pickle.dumps(store)).read(1).jpegs == store.read(1).jpegs
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert [one.frame for one in pool.map(store.read, range(3))] == [4, 9, 4]
    store.close()
    assert store.read(2).session == "b"
    with pytest.raises(IndexError, match="there is none at 3"):
        store.read(3)


def _write(path: Path, **rows: object) -> None:
    dimensions = Dimensions(2, 3)
    mask = np.array([[True, True], [True, False]])
    given = {"view_mask": mask, "session_name": ["s", "s"], "frame_idx": [1, 2], **rows}
    with StoreWriter(path, dimensions, 2) as writer:
        writer.append(complete_rows(given, ["l", "r"], dimensions), [[b"ab", b"cd"], [b"e", b""]])
        writer.describe({"canonical_camera_order": json.dumps(["l", "r"]), "target_resolution": 8})


def test_files_of_today(tmp_path: Path) -> None:
    valid = np.array([[True, False, True], [False, False, False]])
    K = np.broadcast_to(np.diag([9, 9, 1]), (2, 2, 3, 3))
    known = np.array([[True, False], [False, False]])
    rows = {
        "keypoints_3d_valid": valid,
        "has_3d_data": valid.any(1),
        "has_camera": known,
        "camera_intrinsics": K,
    }
    _write(tmp_path / "x.h5", **rows)
    with SampleStore(tmp_path / "x.h5") as store:
        first, second = store.read(0), store.read(1)
        assert store.has("crop_affine")
    assert first.points_valid is not None  # also at the origin
    assert first.points_valid.tolist() == [True, False, True]
    assert first.cameras is not None
    assert first.cameras.known.tolist() == [True, False]
    assert not first.cameras.K[1].any()
    assert first.jpegs == (b"ab", b"cd")
    assert second.jpegs == (b"e", b"")
    assert second.points is second.cameras is None


def test_an_unfinished_file_is_an_error_of_the_writer(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="`num_samples` must be 3"),
        StoreWriter(tmp_path / "x", Dimensions(1, 1), 3),
    ):
        pass


BROKEN: dict[str, tuple[dict[str, np.ndarray | None], dict[str, object]]] = {
    "with multiview_keypoints/keypoints_2d": ({"multiview_keypoints/keypoints_2d": None}, {}),
    "with `auxiliary/frame_idx` of": ({"auxiliary/frame_idx": np.arange(2)}, {}),
    "of schema version 2 or older": ({}, {"schema_version": 3}),
    "with different names": ({}, {"canonical_camera_order": '["a", "a", "b"]'}),
    "with a JSON list": ({}, {"canonical_camera_order": "back, mid"}),
    "of the cameras back": ({"multiview_keypoints/camera_indices": np.full((3, 3), 7)}, {}),
    "with each camera in one slot": ({"multiview_keypoints/camera_indices": np.zeros((3, 3), dtype=int)}, {}),
    "a whole HDF5 file": ({}, {"target_resolution": "large"}),
}


@pytest.mark.parametrize("told", BROKEN)
def test_files_that_do_not_fit_together_are_told(told: str, tmp_path: Path) -> None:
    changes, attributes = BROKEN[told]
    write_packed(tmp_path / "x.h5", changes=changes, **attributes)
    with pytest.raises(ValueError, match=rf"x\.h5` must be {told}.*(again|later)"):
        SampleStore(tmp_path / "x.h5")


def test_broken_files_are_told_in_one_line(old: Path, tmp_path: Path) -> None:
    data = old.read_bytes()
    for number, content in enumerate(
        (b"", b"no HDF5", data[: len(data) // 2], data[:100] + bytes(400) + data[500:])
    ):
        path = tmp_path / f"{number}.h5"
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=rf"{number}\.h5` must be a whole HDF5 file.*Copy it again"
        ) as error:
            SampleStore(path)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        SampleStore(tmp_path / "none.h5")
