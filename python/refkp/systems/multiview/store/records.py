"""What a file of samples gives: V cameras in canonical order, J joints. What is not known is None, never zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class StoreInfo(NamedTuple):
    """What all samples of a file share."""

    schema_version: int  # 1 for files that tell none
    camera_names: tuple[str, ...]  # V; slot v of a sample is camera v
    joint_names: tuple[str, ...] | None  # J
    num_joints: int
    num_betas: int  # B; 0 where there are none
    size: int  # S, the side of the pictures
    world_unit: str | None  # "mm", "cm" or "m"
    world_scale: float | None  # metres in a unit of the world
    undistorted: bool  # the pictures show no distortion of the lens
    pixel_convention: (
        str | None
    )  # "edge": (0, 0) is the outer corner of the first pixel; None: half a raw pixel unsure
    attributes: Mapping[str, object]  # of the file's metadata, as they are


class SampleTable(NamedTuple):
    """Which samples there are, n of them."""

    sessions: np.ndarray  # str [n]
    frames: np.ndarray  # int64 [n], numbers of video frames
    view_mask: np.ndarray  # bool [n,V]


class StoredCameras(NamedTuple):
    """The cameras of a sample for its stored pictures; zeros where `known` is false."""

    known: np.ndarray  # bool [V]
    K: np.ndarray  # float32 [V,3,3], pixels of the stored picture
    R: np.ndarray  # float32 [V,3,3], camera from world
    t: np.ndarray  # float32 [V,3], unit of the world
    size: np.ndarray  # int32 [V,2], (width, height) that K refers to
    distortion: np.ndarray | None  # float32 [V,5], of the raw camera; None: not told
    raw_size: np.ndarray | None  # int32 [V,2], (width, height) of the video
    crop_affine: (
        np.ndarray | None
    )  # float32 [V,2,3], stored pixel from raw pixel (without distortion if undistorted)


class StoredSample(NamedTuple):
    """One instant. Zeros where `view_mask` is false."""

    session: str
    frame: int
    view_mask: np.ndarray  # bool [V]
    jpegs: tuple[bytes, ...]  # V; empty where masked
    keypoints_yx: np.ndarray  # float32 [V,J,2], (y, x) / S; may leave [0,1]
    visibility: np.ndarray  # float32 [V,J] in [0,1]; 0: missing
    cameras: StoredCameras | None
    points: np.ndarray | None  # float32 [J,3], unit of the world; zeros where not valid
    points_valid: np.ndarray | None  # bool [J]
    global_rot: np.ndarray | None  # float32 [3], axis-angle
    joint_rot: np.ndarray | None  # float32 [J,3], axis-angle
    trans: np.ndarray | None  # float32 [3]
    betas: np.ndarray | None  # float32 [B]
