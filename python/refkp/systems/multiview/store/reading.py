"""Read files of samples: schema version 2, and the older ones whose slots are not cameras."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from refkp._checks import fail
from refkp.data.hdf5 import open_hdf5, telling_broken
from refkp.systems.multiview.store.records import SampleTable, StoredCameras, StoredSample, StoreInfo
from refkp.systems.multiview.store.schema import DATASET_TYPE, FIELDS, SCHEMA_VERSION, Dimensions, jpeg_path

if TYPE_CHECKING:
    import h5py

_REWRITE = "Write it again with `refkp multiview preprocess`."

#: Datasets whose rows may have other sizes in older files: of another skeleton, of a body model.
_FREE = ("keypoints_3d", "joint_rot", "betas", "camera_names")


class _Handle(NamedTuple):
    """A file as a process opened it, and its data sets by path; None: it has none there."""

    process: int
    file: h5py.File
    datasets: dict[str, h5py.Dataset | None]


class SampleStore:
    """A file of samples, opened anew in each process that reads it: it can be sent to workers, or forked.

    Slots come out in canonical order, also of older files, which pack the views that are there.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, or a broken one; names it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._handle: _Handle | None = None
        try:
            with telling_broken(self.path, "SampleStore"):
                self.info, self.samples, self._slots = _opened(self.path, self._file)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self.samples.frames)

    def read(self, index: int) -> StoredSample:
        """Sample `index`, from 0 on.

        Raises:
            IndexError: no such sample.
            ValueError: it cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(
                f"SampleStore.read: {self.path} has {len(self)} samples; there is none at {index}."
            )
        with telling_broken(self.path, "SampleStore.read"):
            return self._sample(index)

    def has(self, name: str) -> bool:
        """Whether the file has a field of the schema at all."""
        return FIELDS[name].path in self._file

    def close(self) -> None:
        if self._handle is not None:
            self._handle.file.close()
            self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    @property
    def _file(self) -> h5py.File:
        """The file as this process opened it: a handle from before a fork would share its position."""
        if self._handle is None or self._handle.process != os.getpid():
            self._handle = _Handle(os.getpid(), open_hdf5(self.path, "SampleStore"), {})
        return self._handle.file

    def _dataset(self, path: str) -> h5py.Dataset | None:
        """A data set of the file, or None; looked up once, for that takes as long as to read a row."""
        file = self._file
        assert self._handle is not None
        known = self._handle.datasets
        if path not in known:
            known[path] = file.get(path)
        return known[path]

    def _sample(self, index: int) -> StoredSample:
        mask, cameras = self.samples.view_mask[index], self._slots[index]
        jpegs = [b""] * len(mask)
        for slot in np.flatnonzero(cameras >= 0):
            pictures = self._dataset(jpeg_path(int(slot)))
            assert pictures is not None  # seen when the file was opened
            jpegs[cameras[slot]] = pictures[index].tobytes()
        points, points_valid = self._points(index)
        has_pose, has_betas = self._has_pose(index), bool(self._row("has_ground_truth_betas", index))
        return StoredSample(
            str(self.samples.sessions[index]),
            int(self.samples.frames[index]),
            mask,
            tuple(jpegs),
            self._required("keypoints_2d", index),
            self._required("keypoint_visibility", index),
            self._cameras(index),
            points,
            points_valid,
            global_rot=self._row("global_rot", index) if has_pose else None,
            joint_rot=self._row("joint_rot", index) if has_pose else None,
            trans=self._row("trans", index) if has_pose else None,
            betas=self._row("betas", index) if has_betas else None,
        )

    def _row(self, name: str, index: int) -> np.ndarray | None:
        """The row of a dataset in the type of the schema, or None without it."""
        field = FIELDS[name]
        rows = self._dataset(field.path)
        return None if rows is None else np.asarray(rows[index], dtype=field.dtype)

    def _views(self, name: str, index: int) -> np.ndarray | None:
        """A row that has a part for each slot, in canonical order; zeros where there is no view."""
        packed = self._row(name, index)
        if packed is None:
            return None
        cameras = self._slots[index]
        views = np.zeros((self.samples.view_mask.shape[1], *packed.shape[1:]), dtype=packed.dtype)
        views[cameras[cameras >= 0]] = packed[cameras >= 0]
        return views

    def _required(self, name: str, index: int) -> np.ndarray:
        views = self._views(name, index)
        assert views is not None  # seen when the file was opened
        return views

    def _cameras(self, index: int) -> StoredCameras | None:
        K, R, t, size = (
            self._views(name, index)
            for name in ("camera_intrinsics", "camera_extrinsics_R", "camera_extrinsics_t", "image_sizes")
        )
        if K is None or R is None or t is None:
            return None
        if size is None:
            size = np.where(self.samples.view_mask[index][:, None], self.info.size, 0).repeat(2, 1)
        told = self._views("has_camera", index)
        known = _are_cameras(K, R, t) if told is None else told
        K, R, t = (np.where(known.reshape(-1, *[1] * (part.ndim - 1)), part, 0) for part in (K, R, t))
        rest = (self._views(name, index) for name in ("camera_distortion", "raw_image_size", "crop_affine"))
        return StoredCameras(known, K, R, t, size.astype(np.int32), *rest) if known.any() else None

    def _points(self, index: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        points, has = self._row("keypoints_3d", index), self._row("has_3d_data", index)
        if points is None or (has is not None and not has):
            return None, None
        there = (points != 0).any(-1) & np.isfinite(points).all(-1)
        told = self._row("keypoints_3d_valid", index)
        valid = there if told is None else told
        return (np.where(valid[:, None], points, 0), valid) if valid.any() else (None, None)

    def _has_pose(self, index: int) -> bool:
        """As the file tells; older ones without the flag have zeros where nothing is known."""
        told = self._row("has_ground_truth_pose", index)
        if told is not None:
            return bool(told)
        parts = [self._row(name, index) for name in ("global_rot", "joint_rot")]
        return any(part is not None and bool(part.any()) for part in parts)


def _are_cameras(K: np.ndarray, R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """bool [V]: not the identity, nor zeros, that older files have where there is no camera."""
    identity = np.eye(3)
    placeholder = (identity == K).all((1, 2)) & (identity == R).all((1, 2)) & (t == 0).all(1)
    finite = np.isfinite(K).all((1, 2)) & np.isfinite(R).all((1, 2)) & np.isfinite(t).all(1)
    return finite & ~placeholder & (K[:, 0, 0] > 0) & (K[:, 1, 1] > 0)


def _opened(path: Path, file: h5py.File) -> tuple[StoreInfo, SampleTable, np.ndarray]:
    """The metadata, the table of samples, and which camera each slot of each sample is [n,slots], -1 for none."""
    attributes = _attributes(path, file)
    names = _names(path, attributes, "canonical_camera_order")
    if names is None:
        fail("SampleStore", str(path), "with the names of its cameras", "no canonical_camera_order", _REWRITE)
    num_joints = _checked_shapes(path, file, attributes)
    slots = _cameras_of_slots(path, file, names)
    view_mask = np.zeros((len(slots), len(names)), dtype=bool)
    row, slot = np.nonzero(slots >= 0)
    view_mask[row, slots[row, slot]] = True
    if view_mask.sum() != len(row):
        fail("SampleStore", str(path), "with each camera in one slot of a sample", "some in two", _REWRITE)
    joints = _names(path, attributes, "joint_names")
    betas = FIELDS["betas"].path
    scale, unit = attributes.get("world_scale"), attributes.get("world_unit")
    info = StoreInfo(
        int(attributes.get("schema_version", 1)),
        names,
        joints,
        num_joints,
        int(file[betas].shape[1]) if betas in file else 0,
        int(attributes["target_resolution"]),
        str(unit) if unit else None,
        float(scale) if scale is not None else None,
        bool(attributes.get("undistort_images", False)),
        str(attributes["pixel_convention"]) if attributes.get("pixel_convention") else None,
        attributes,
    )
    sessions = np.array([_text(name) for name in file[FIELDS["session_name"].path][()]], dtype=str)
    frames = file[FIELDS["frame_idx"].path][()].astype(np.int64)
    return info, SampleTable(sessions, frames, view_mask), slots


def _attributes(path: Path, file: h5py.File) -> dict[str, Any]:
    """The metadata in plain values; raises for files that are of something else, or of a later version."""
    attributes = (
        {key: _plain(value) for key, value in file["metadata"].attrs.items()} if "metadata" in file else {}
    )
    kind = attributes.get("dataset_type")
    if kind != DATASET_TYPE and "multiview_images" not in file:
        remedy = "Name what `refkp multiview preprocess` wrote."
        fail("SampleStore", str(path), "a file of multi-view samples", f"dataset_type {kind!r}", remedy)
    version = attributes.get("schema_version", 1)
    if not 1 <= int(version) <= SCHEMA_VERSION:
        rule = f"of schema version {SCHEMA_VERSION} or older"
        fail("SampleStore", str(path), rule, version, "Use a later refkp, or write it again.")
    if "target_resolution" not in attributes:
        fail("SampleStore", str(path), "with its target_resolution", f"{sorted(attributes)}", _REWRITE)
    return attributes


def _checked_shapes(path: Path, file: h5py.File, attributes: dict[str, Any]) -> int:
    """The number of joints; raises unless every dataset that is needed is there, and all fit together."""
    missing = [field.path for field in FIELDS.values() if field.required and field.path not in file]
    if missing:
        fail("SampleStore", str(path), f"with {', '.join(missing)}", "a file without", _REWRITE)
    count, slots, joints = file[FIELDS["keypoints_2d"].path].shape[:3]
    dimensions = Dimensions(slots, joints, int(attributes.get("n_betas", 0)))
    for name, field in FIELDS.items():
        if field.path in file:
            shape = file[field.path].shape
            wanted = (count, *field.shape(dimensions))
            fits = shape[:1] == wanted[:1] if name in _FREE else shape == wanted
            if not fits:
                fail(
                    "SampleStore", str(path), f"with `{field.path}` of {list(wanted)}", list(shape), _REWRITE
                )
    for view in range(slots):
        if jpeg_path(view) not in file or file[jpeg_path(view)].shape != (count,):
            fail("SampleStore", str(path), f"with {count} pictures in `{jpeg_path(view)}`", "other", _REWRITE)
    return int(joints)


def _cameras_of_slots(path: Path, file: h5py.File, names: Sequence[str]) -> np.ndarray:
    """Which camera each slot is, int64 [n,slots]; -1 where the slot is empty."""
    mask = file[FIELDS["view_mask"].path][()].astype(bool)
    if FIELDS["camera_indices"].path in file:
        cameras = file[FIELDS["camera_indices"].path][()].astype(np.int64)
    elif FIELDS["camera_names"].path in file:
        cameras = _named_cameras(file[FIELDS["camera_names"].path][()], mask, names)
    else:
        cameras = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
    if mask.any() and not 0 <= cameras[mask].min() <= cameras[mask].max() < len(names):
        fail("SampleStore", str(path), f"of the cameras {', '.join(names)}", "a slot of another", _REWRITE)
    return np.where(mask, cameras, -1)


def _named_cameras(stored: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Cameras from names, [n,slots] of text, or [n] with the names of the filled slots joined by commas."""
    cameras = np.full(mask.shape, -1)
    known = {name: index for index, name in enumerate(names)}
    for row, entry in enumerate(stored):
        if stored.ndim == 1:
            slots, listed = np.flatnonzero(mask[row]), _text(entry).split(",")
        else:
            slots, listed = np.arange(mask.shape[1]), [_text(name) for name in entry]
        for slot, name in zip(slots, listed, strict=False):
            cameras[row, slot] = known.get(name, -1)
    return cameras


def _names(path: Path, attributes: dict[str, Any], key: str) -> tuple[str, ...] | None:
    """A JSON list of different names."""
    if key not in attributes:
        return None
    try:
        names = json.loads(str(attributes[key]))
    except json.JSONDecodeError as error:
        fail("SampleStore", str(path), f"with a JSON list `{key}`", error, _REWRITE)
    if not isinstance(names, list) or len({*map(str, names)}) < max(1, len(names)):
        fail("SampleStore", str(path), f"with different names in `{key}`", names, _REWRITE)
    return tuple(map(str, names))


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode() if isinstance(value, bytes) else value


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
