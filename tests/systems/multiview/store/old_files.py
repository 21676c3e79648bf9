"""Files of samples as implementations before ours wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

NAMES = ("back", "mid", "side", "top")
JOINTS, SIZE = 5, 48

#: Which cameras saw each sample, in the order in which the files of its session were found.
SEEN = ((2, 0), (1, 2, 3), (3,))


def jpeg(sample: int, camera: int) -> bytes:
    """What stands for a picture; of a length of its own."""
    return bytes(range(10 * sample + camera + 1))


def camera(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K, R and t of a camera."""
    cos, sin = np.cos(index), np.sin(index)
    K = np.array([[50.0 + index, 0, 24], [0, 50, 25], [0, 0, 1]])
    return K, np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]), np.array([index, 20.0, 300])


def keypoints(sample: int) -> np.ndarray:
    """float32 [4,J,2] of all cameras, (y, x)."""
    return np.random.default_rng(sample).random((len(NAMES), JOINTS, 2), dtype=np.float32)


def write_packed(
    path: Path, *, changes: dict[str, np.ndarray | None] | None = None, **attributes: object
) -> None:
    """Views in the order of their files in the first slots; names joined by commas; the identity for no camera."""
    slots = max(map(len, SEEN))
    shape = (len(SEEN), slots)
    data: dict[str, np.ndarray] = {
        "multiview_images/view_mask": np.zeros(shape, dtype=bool),
        "multiview_keypoints/keypoints_2d": np.zeros((*shape, JOINTS, 2), dtype=np.float32),
        "multiview_keypoints/keypoint_visibility": np.zeros((*shape, JOINTS), dtype=np.float32),
        "multiview_keypoints/camera_indices": np.full(shape, -1, dtype=np.int32),
        "multiview_keypoints/camera_intrinsics": np.zeros((*shape, 3, 3), dtype=np.float32),
        "multiview_keypoints/camera_extrinsics_R": np.zeros((*shape, 3, 3), dtype=np.float32),
        "multiview_keypoints/camera_extrinsics_t": np.zeros((*shape, 3), dtype=np.float32),
        "multiview_keypoints/image_sizes": np.zeros((*shape, 2), dtype=np.int32),
        "multiview_keypoints/keypoints_3d": np.zeros((len(SEEN), JOINTS, 3), dtype=np.float32),
        "parameters/global_rot": np.zeros((len(SEEN), 3), dtype=np.float32),
        "parameters/joint_rot": np.zeros((len(SEEN), JOINTS, 3), dtype=np.float32),
        "parameters/betas": np.ones((len(SEEN), 4), dtype=np.float32),
        "parameters/trans": np.zeros((len(SEEN), 3), dtype=np.float32),
        "auxiliary/session_name": np.array([b"a", b"a", b"b"], dtype=object),
        "auxiliary/frame_idx": np.array([4, 9, 4]),
        "auxiliary/num_views": np.array([len(views) for views in SEEN]),
        "auxiliary/has_ground_truth_betas": np.array([False, True, False]),
        "auxiliary/has_3d_data": np.array([True, True, False]),
        "auxiliary/camera_names": np.array(
            [",".join(NAMES[view] for view in views).encode() for views in SEEN], dtype=object
        ),
    }
    data["multiview_keypoints/keypoints_3d"][:2, 1:] = np.arange(3.0) + 80
    for sample, views in enumerate(SEEN):
        for slot, view in enumerate(views):
            data["multiview_images/view_mask"][sample, slot] = True
            data["multiview_keypoints/keypoints_2d"][sample, slot] = keypoints(sample)[view]
            data["multiview_keypoints/keypoint_visibility"][sample, slot] = 1
            data["multiview_keypoints/camera_indices"][sample, slot] = view
            K, R, t = camera(view) if view != 3 else (np.eye(3), np.eye(3), np.zeros(3))
            data["multiview_keypoints/camera_intrinsics"][sample, slot] = K
            data["multiview_keypoints/camera_extrinsics_R"][sample, slot] = R
            data["multiview_keypoints/camera_extrinsics_t"][sample, slot] = t
            data["multiview_keypoints/image_sizes"][sample, slot] = SIZE
    metadata = {
        "dataset_type": "sleap_multiview",
        "is_multiview": True,
        "max_views": slots,
        "canonical_camera_order": json.dumps(NAMES),
        "target_resolution": SIZE,
        "n_joints": JOINTS,
        "n_betas": 4,
        "undistort_images": True,
        "has_camera_parameters": True,
        **attributes,
    }
    with h5py.File(path, "w") as file:
        for name, values in {**data, **(changes or {})}.items():
            if values is not None:
                file.create_dataset(name, data=values)
        for slot in range(slots):
            pictures = file.create_dataset(
                f"multiview_images/image_jpeg_view_{slot}", (len(SEEN),), h5py.vlen_dtype(np.uint8)
            )
            for sample, views in enumerate(SEEN):
                if slot < len(views):
                    pictures[sample] = np.frombuffer(jpeg(sample, views[slot]), dtype=np.uint8)
        file.create_group("metadata").attrs.update(metadata)
