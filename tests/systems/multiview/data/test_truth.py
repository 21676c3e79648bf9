"""The check of a file's truth: what belongs together passes, and each way of not doing so is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra `multiview`")
pytest.importorskip("cv2", reason="needs the extra `multiview`")
pytest.importorskip("PIL", reason="needs the extra `multiview`")

from refkp.systems.multiview.data.dataset import MultiviewDataset
from refkp.systems.multiview.data.generator import make_session
from refkp.systems.multiview.data.truth import ViewTruth, check_truth, truth_through_cameras
from tests.systems.multiview.stored import SIZE, SPEC, stored_rows, write_store

MASK = np.ones((12, 4), dtype=bool)
ROWS = stored_rows(make_session(SPEC), MASK, "one")


def truth(path: Path, **changed: np.ndarray) -> list[ViewTruth]:
    return truth_through_cameras(
        MultiviewDataset(write_store(path / "a.h5", view_mask=MASK, changed=changed))
    )


def test_true_points_are_where_their_labels_are(tmp_path: Path) -> None:
    rows = truth(tmp_path)
    assert [row.camera for row in rows] == ["cam0", "cam1", "cam2", "cam3"]
    seen = (ROWS["keypoint_visibility"][..., :-1] > 0).sum((0, 2))  # the last joint has no point
    assert [row.num_points for row in rows] == seen.tolist()
    assert max(row.median_px for row in rows) < 1e-3
    assert "cam3 0.00" in check_truth(rows, SIZE)
    assert "Far off" not in check_truth(rows, SIZE)


def test_the_median_is_that_of_the_shift_of_one_view(tmp_path: Path) -> None:
    keypoints = ROWS["keypoints_2d"].copy()
    keypoints[:, 1] += np.array([0.6, 0.8], dtype=np.float32) / SIZE  # (y, x): one pixel
    rows = truth(tmp_path, keypoints_2d=keypoints)
    assert rows[1].median_px == pytest.approx(1, abs=1e-3)
    assert max(row.median_px for row in rows if row.camera != "cam1") < 1e-3
    assert "Far off: cam1;" in check_truth(rows, SIZE)


def test_swapped_cameras_are_refused_by_name(tmp_path: Path) -> None:
    R, t = (ROWS[f"camera_extrinsics_{name}"][:, [2, 1, 0, 3]] for name in "Rt")
    rows = truth(tmp_path, camera_extrinsics_R=R, camera_extrinsics_t=t)
    with pytest.raises(ValueError, match=r"got cam0 [\d.]+ px, cam2 [\d.]+ px\..*inspect"):
        check_truth(rows, SIZE)


def test_points_behind_a_camera_are_infinitely_far(tmp_path: Path) -> None:
    away = np.diag([-1.0, 1.0, -1.0]) @ ROWS["camera_extrinsics_R"]
    t = ROWS["camera_extrinsics_t"] * np.array([-1.0, 1.0, -1.0])
    assert all(
        row.median_px == np.inf for row in truth(tmp_path, camera_extrinsics_R=away, camera_extrinsics_t=t)
    )


def test_a_file_without_points_says_that_nothing_was_checked(tmp_path: Path) -> None:
    rows = truth(tmp_path, has_3d_data=np.zeros(12, dtype=bool))
    assert rows == []
    assert "nothing tells" in check_truth(rows, SIZE)
