"""HDF5 files as people have them: whole, cut off, or not HDF5 at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from refkp._checks import fail
from refkp._extras import named_extras

if TYPE_CHECKING:
    import h5py

#: What h5py makes of a broken file.
BROKEN = (
    *(OSError, RuntimeError, LookupError, TypeError, AttributeError, ValueError, OverflowError),
    *(MemoryError, NotImplementedError),
)


def open_hdf5(path: Path | str, function: str, *, cache_bytes: int = 1 << 20) -> h5py.File:
    """A file to read; close it, or use it in a `with` block.

    Args:
        path: of the file.
        function: that reads, for errors.
        cache_bytes: the chunks of a dataset that stay in memory.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a whole HDF5 file.
    """
    with named_extras():
        import h5py
    if not Path(path).is_file():
        raise FileNotFoundError(f"{function}: there is no file {path}.")
    with telling_broken(path, function):
        return h5py.File(path, rdcc_nbytes=cache_bytes)


@contextmanager
def hdf5_file(path: Path | str, function: str) -> Iterator[h5py.File]:
    """A file to read all of inside the block; errors as of `open_hdf5`, for what breaks in the block too."""
    with telling_broken(path, function), open_hdf5(path, function) as file:
        yield file


@contextmanager
def telling_broken(path: Path | str, function: str) -> Iterator[None]:
    """Make one ValueError that names the file of what h5py raises while it reads a broken one."""
    try:
        yield
    except FileNotFoundError:
        raise
    except BROKEN as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise  # ours
        told = " ".join(str(error).split()) or type(error).__name__
        fail(function, str(path), "a whole HDF5 file", told.rstrip("."), "Copy it again, or write it again.")
