"""Write files of samples, schema version 2: row after row, with a bounded part of them in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from refkp._checks import fail
from refkp._extras import named_extras
from refkp.systems.multiview.store.schema import (
    CHUNK,
    DATASET_TYPE,
    FIELDS,
    SCHEMA_VERSION,
    Dimensions,
    jpeg_path,
)

with named_extras():
    import h5py

#: Chunks are written when their rows are; few bytes of them need to stay in memory.
_CACHE_BYTES = 1 << 16

#: Of HDF5: the first in which all that describes the arrays has checksums, without which a reader may hang.
_FORMAT = ("v110", "v110")


class StoreWriter:
    """An unfinished file of samples; use it in a `with` block, below `whole_file`.

    Args:
        path: of the file; an earlier one is replaced.
        dimensions: of all samples.
        num_samples: that will be appended.
        without: fields that nothing is known of; the file does not have them.
    """

    def __init__(
        self, path: Path | str, dimensions: Dimensions, num_samples: int, *, without: Sequence[str] = ()
    ) -> None:
        self.path, self._dimensions, self._count = Path(path), dimensions, num_samples
        self._row = 0
        self._file = h5py.File(path, "w", libver=_FORMAT, rdcc_nbytes=_CACHE_BYTES)
        self._fields = {name: field for name, field in FIELDS.items() if name not in without}
        for field in self._fields.values():
            dtype = h5py.string_dtype() if field.dtype is str else field.dtype
            self._create(field.path, field.shape(dimensions), dtype)
        for view in range(dimensions.views):
            self._create(jpeg_path(view), (), h5py.vlen_dtype(np.uint8))

    def append(self, rows: Mapping[str, Any], jpegs: Sequence[Sequence[bytes]]) -> None:
        """Append m samples.

        Args:
            rows: every field of the schema, m rows of each; see `complete_rows`.
            jpegs: m times V pictures; empty where the view is missing.
        """
        place = self._next(len(jpegs))
        for name, field in self._fields.items():
            if field.dtype is str:
                self._file[field.path][place] = np.asarray(rows[name], dtype=object)
            else:
                self._file[field.path][place] = np.asarray(rows[name], dtype=field.dtype)
        for view in range(self._dimensions.views):
            pictures = (np.frombuffer(sample[view], dtype=np.uint8) for sample in jpegs)
            self._write_pictures(view, place, pictures)

    def append_file(self, path: Path) -> None:
        """Append all samples of another file with the same dimensions."""
        with h5py.File(path, rdcc_nbytes=_CACHE_BYTES) as other:
            place = self._next(len(other[FIELDS["frame_idx"].path]))
            for field in self._fields.values():
                self._file[field.path][place] = other[field.path][()]
            for view in range(self._dimensions.views):
                self._write_pictures(view, place, other[jpeg_path(view)])

    def describe(
        self, attributes: Mapping[str, Any], tables: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Write the metadata: plain values, and columns of text that may be long."""
        metadata = self._file.require_group("metadata")
        always = {"dataset_type": DATASET_TYPE, "is_multiview": True, "schema_version": SCHEMA_VERSION}
        for key, value in {**attributes, **always}.items():
            metadata.attrs[key] = value
        for key, column in (tables or {}).items():
            metadata.create_dataset(key, data=np.asarray(column, dtype=object), dtype=h5py.string_dtype())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._row != self._count:
            fail("StoreWriter", "num_samples", f"{self._count}, as was told before", self._row)

    def _create(self, path: str, shape: tuple[int, ...], dtype: Any) -> None:
        full = (self._count, *shape)
        chunks = (min(CHUNK, self._count), *shape) if all(full) else None
        self._file.create_dataset(path, full, dtype, chunks=chunks)

    def _write_pictures(self, view: int, place: slice, pictures: Iterable[np.ndarray]) -> None:
        """One by one: h5py takes several arrays of one length for an array of two axes."""
        for row, picture in zip(range(place.start, place.stop), pictures, strict=True):
            self._file[jpeg_path(view)][row] = picture

    def _next(self, count: int) -> slice:
        self._row += count
        return slice(self._row - count, self._row)


def complete_rows(
    rows: Mapping[str, Any], camera_names: Sequence[str], dimensions: Dimensions
) -> dict[str, Any]:
    """All fields of the schema: those of `rows`, what follows from them, zeros where nothing is known."""
    mask = np.asarray(rows["view_mask"], dtype=bool)
    complete: dict[str, Any] = {
        name: np.zeros((len(mask), *field.shape(dimensions)), dtype=field.dtype)
        for name, field in FIELDS.items()
        if field.dtype is not str
    }
    follows: dict[str, Any] = {
        "view_valid": mask,
        "num_views": mask.sum(1),
        "camera_indices": np.where(mask, np.arange(mask.shape[1]), -1),
        "camera_names": np.where(mask, np.asarray(camera_names, dtype=object), ""),
    }
    return {**complete, **follows, **rows}
