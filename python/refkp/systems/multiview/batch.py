"""What travels from the data to the model: one instant seen by several cameras.

Pixels are those of the S x S pictures, edge coordinates, (x, y); lengths are metres. What nobody knows is None where
it is unknown of all, else NaN; it is never a number that could be taken for one. Source: spec multiview c.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

#: The fields of samples and batches that have a part for each view.
VIEW_FIELDS = (
    *("images", "view_mask", "camera_indices", "keypoints", "visibility"),
    *("K", "R", "t", "crop_affine"),
)


class MultiviewSample(NamedTuple):
    """One instant in n views."""

    images: Tensor  # uint8 [n,3,S,S]
    view_mask: Tensor  # bool [n], true
    camera_indices: Tensor  # int64 [n], places in the file's order of cameras
    keypoints: Tensor  # float32 [n,J,2] pixels, also outside the picture; NaN: not labelled
    visibility: Tensor  # float32 [n,J] in [0,1]; 0: does not count
    K: Tensor | None  # float32 [n,3,3], pixels of the picture; NaN for a view without a camera
    R: Tensor | None  # float32 [n,3,3], camera from world
    t: Tensor | None  # float32 [n,3]
    crop_affine: Tensor | None  # float32 [n,2,3], picture from raw (undistorted) pixel
    points: Tensor | None  # float32 [J,3]; NaN where missing
    global_rot: Tensor | None  # float32 [3], axis-angle
    joint_rot: Tensor | None  # float32 [J,3], axis-angle
    trans: Tensor | None  # float32 [3]
    betas: Tensor | None  # float32 [nb]
    session: str
    frame: int


class Known(NamedTuple):
    """Which labels of a batch there are; elsewhere they are NaN."""

    cameras: Tensor  # bool [B,V], K, R and t
    crop_affine: Tensor  # bool [B,V]
    points: Tensor  # bool [B,J]
    pose: Tensor  # bool [B], global_rot, joint_rot and trans
    betas: Tensor  # bool [B]


class MultiviewBatch(NamedTuple):
    """B samples, padded to the V views of the one that has most.

    A slot that pads has black pictures, view_mask false, camera 0, visibility 0, and NaN in all else. A label is None
    where no sample has it.
    """

    images: Tensor  # uint8 [B,V,3,S,S]
    view_mask: Tensor  # bool [B,V]
    camera_indices: Tensor  # int64 [B,V]
    keypoints: Tensor  # float32 [B,V,J,2]
    visibility: Tensor  # float32 [B,V,J]
    K: Tensor | None  # float32 [B,V,3,3]
    R: Tensor | None  # float32 [B,V,3,3]
    t: Tensor | None  # float32 [B,V,3]
    crop_affine: Tensor | None  # float32 [B,V,2,3]
    points: Tensor | None  # float32 [B,J,3]
    global_rot: Tensor | None  # float32 [B,3]
    joint_rot: Tensor | None  # float32 [B,J,3]
    trans: Tensor | None  # float32 [B,3]
    betas: Tensor | None  # float32 [B,nb]
    known: Known
    sessions: tuple[str, ...]
    frames: tuple[int, ...]
