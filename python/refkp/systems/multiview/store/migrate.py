"""Rewrite files of samples of older versions, whose slots are not cameras and whose unit is not told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from refkp._checks import fail
from refkp._files import whole_file
from refkp.data.units import Unit, metres
from refkp.systems.multiview.store.reading import SampleStore
from refkp.systems.multiview.store.records import StoredCameras, StoredSample
from refkp.systems.multiview.store.schema import CHUNK, FIELDS, SCHEMA_VERSION, Dimensions
from refkp.systems.multiview.store.writing import StoreWriter, complete_rows

#: What older files do not tell of a camera.
_OF_CAMERAS = ("camera_distortion", "raw_image_size", "crop_affine")


def migrate(old: Path, new: Path, world_unit: Unit | None = None) -> int:
    """Write the samples of an older file as schema version 2, their JPEGs byte for byte; returns how many there are.

    What the old file does not tell, such as the distortion of its cameras, the new one does not tell either.

    Args:
        old: to read.
        new: to write.
        world_unit: of its points and cameras; needed where the file tells none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, one of version 2, no unit or another than the file tells, or a `new` that exists.
    """
    if new.exists():
        fail("migrate", "new", "a name that is free", f"the existing {str(new)!r}", "Choose another.")
    with SampleStore(old) as store:
        if store.info.schema_version == SCHEMA_VERSION:
            fail("migrate", str(old), "of an older version", f"{SCHEMA_VERSION}", "It can be used as it is.")
        scale = _scale(old, store, world_unit)
        dimensions = Dimensions(len(store.info.camera_names), store.info.num_joints, store.info.num_betas)
        untold = [name for name in _OF_CAMERAS if not store.has(name)]
        with (
            whole_file(new) as unfinished,
            StoreWriter(unfinished, dimensions, len(store), without=untold) as writer,
        ):
            for start in range(0, len(store), CHUNK):
                samples = [store.read(index) for index in range(start, min(start + CHUNK, len(store)))]
                rows = complete_rows(_rows(old, samples, dimensions), store.info.camera_names, dimensions)
                writer.append(rows, [sample.jpegs for sample in samples])
            writer.describe({**store.info.attributes, **_attributes(store, dimensions), **scale})
        return len(store)


def _scale(old: Path, store: SampleStore, unit: Unit | None) -> dict[str, Any]:
    """The unit and its length in metres."""
    told = store.info.world_scale
    if unit is None and told is None:
        remedy = "Give the unit of its calibration: --world_unit mm, cm or m."
        fail("migrate", str(old), "a file that tells its world_scale", "none, and it is not guessed", remedy)
    if unit is None:
        return {"world_scale": told}
    if told is not None and not np.isclose(told, metres(unit)):
        remedy = "Leave --world_unit out."
        fail("migrate", "world_unit", f"of the length that {old} tells, {told:g} m", repr(unit), remedy)
    return {"world_unit": unit, "world_scale": metres(unit)}


def _attributes(store: SampleStore, dimensions: Dimensions) -> dict[str, Any]:
    return {
        "canonical_camera_order": json.dumps(list(store.info.camera_names)),
        "max_views": dimensions.views,
        "n_joints": dimensions.joints,
        "n_betas": dimensions.betas,
        "num_samples": len(store),
    }


def _rows(old: Path, samples: list[StoredSample], dimensions: Dimensions) -> dict[str, Any]:
    """The fields of samples; zeros, and flags that say so, where nothing is known."""
    told = [_told(sample) for sample in samples]
    rows: dict[str, Any] = {"session_name": [sample.session for sample in samples]}
    for name in told[0]:
        shape = FIELDS[name].shape(dimensions)
        values = [np.zeros(shape) if one[name] is None else np.asarray(one[name]) for one in told]
        other = [value.shape for value in values if value.shape != shape]
        if other:
            fail("migrate", str(old), f"a file with `{name}` of {list(shape)} in each sample", list(other[0]))
        rows[name] = np.stack(values)
    return rows


def _told(sample: StoredSample) -> dict[str, Any]:
    """The fields of a sample by the names of the schema; None where they are not known."""
    cameras = sample.cameras or StoredCameras(*[None] * len(StoredCameras._fields))  # type: ignore[arg-type]
    return {
        "view_mask": sample.view_mask,
        "keypoints_2d": sample.keypoints_yx,
        "keypoint_visibility": sample.visibility,
        "has_camera": cameras.known,
        "camera_intrinsics": cameras.K,
        "camera_extrinsics_R": cameras.R,
        "camera_extrinsics_t": cameras.t,
        "image_sizes": cameras.size,
        "camera_distortion": cameras.distortion,
        "raw_image_size": cameras.raw_size,
        "crop_affine": cameras.crop_affine,
        "keypoints_3d": sample.points,
        "keypoints_3d_valid": sample.points_valid,
        "has_3d_data": sample.points is not None,
        "global_rot": sample.global_rot,
        "joint_rot": sample.joint_rot,
        "trans": sample.trans,
        "betas": sample.betas,
        "has_ground_truth_pose": sample.global_rot is not None,
        "has_ground_truth_betas": sample.betas is not None,
        "frame_idx": sample.frame,
    }
