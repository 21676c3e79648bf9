"""The datasets of a file of samples, schema version 2.

n samples, V cameras, J joints, B shape parameters. Slot v of a sample always is camera v of `canonical_camera_order`;
`view_mask` tells whether it saw the sample. Pixels are those of the stored S x S pictures, in edge coordinates.

Source: spec multiview b.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

SCHEMA_VERSION = 2
DATASET_TYPE = "sleap_multiview"

#: Rows of a chunk.
CHUNK = 64


class Dimensions(NamedTuple):
    """Sizes that all samples of a file share."""

    views: int
    joints: int
    betas: int = 0


class Field(NamedTuple):
    """One dataset: an array with a row for each sample, or text where `dtype` is str."""

    path: str
    row: str  # sizes of a row, a comma list of V, J, B and numbers; empty for one value
    dtype: type
    required: bool = False  # in older files too

    def shape(self, dimensions: Dimensions) -> tuple[int, ...]:
        """The sizes of a row."""
        sizes = {"V": dimensions.views, "J": dimensions.joints, "B": dimensions.betas}
        return tuple(int(sizes.get(name, name)) for name in self.row.split(",") if name)


#: Name -> its dataset.
FIELDS: Mapping[str, Field] = {
    "view_mask": Field("multiview_images/view_mask", "V", np.bool_, True),
    "view_valid": Field("multiview_keypoints/view_valid", "V", np.bool_),  # the same
    "keypoints_2d": Field("multiview_keypoints/keypoints_2d", "V,J,2", np.float32, True),  # (y, x) / S
    "keypoint_visibility": Field("multiview_keypoints/keypoint_visibility", "V,J", np.float32, True),
    "camera_indices": Field("multiview_keypoints/camera_indices", "V", np.int32),  # -1: no view
    "has_camera": Field("multiview_keypoints/has_camera", "V", np.bool_),
    "camera_intrinsics": Field("multiview_keypoints/camera_intrinsics", "V,3,3", np.float32),
    "camera_extrinsics_R": Field("multiview_keypoints/camera_extrinsics_R", "V,3,3", np.float32),
    "camera_extrinsics_t": Field("multiview_keypoints/camera_extrinsics_t", "V,3", np.float32),
    "camera_distortion": Field(
        "multiview_keypoints/camera_distortion", "V,5", np.float32
    ),  # of the raw camera
    "image_sizes": Field("multiview_keypoints/image_sizes", "V,2", np.int32),  # (W, H) that K refers to
    "raw_image_size": Field("multiview_keypoints/raw_image_size", "V,2", np.int32),  # (W, H) of the video
    "crop_affine": Field(
        "multiview_keypoints/crop_affine", "V,2,3", np.float32
    ),  # stored from ideal raw pixel
    "keypoints_3d": Field("multiview_keypoints/keypoints_3d", "J,3", np.float32),  # world; zeros: missing
    "keypoints_3d_valid": Field("multiview_keypoints/keypoints_3d_valid", "J", np.bool_),
    "global_rot": Field("parameters/global_rot", "3", np.float32),
    "joint_rot": Field("parameters/joint_rot", "J,3", np.float32),
    "betas": Field("parameters/betas", "B", np.float32),
    "trans": Field("parameters/trans", "3", np.float32),
    "session_name": Field("auxiliary/session_name", "", str, True),
    "frame_idx": Field("auxiliary/frame_idx", "", np.int32, True),
    "num_views": Field("auxiliary/num_views", "", np.int32),
    "camera_names": Field("auxiliary/camera_names", "V", str),  # empty: no view
    "has_3d_data": Field("auxiliary/has_3d_data", "", np.bool_),
    "has_ground_truth_betas": Field("auxiliary/has_ground_truth_betas", "", np.bool_),
    "has_ground_truth_pose": Field("auxiliary/has_ground_truth_pose", "", np.bool_),
}


def jpeg_path(view: int) -> str:
    """The dataset with the pictures of a slot: n times the bytes of a JPEG file, none where the view is missing."""
    return f"multiview_images/image_jpeg_view_{view}"
