"""Pickled model files without running what is in them: arrays, numbers, text, lists, tuples and dicts alone.

A pickle asks for classes and functions by name. None of them is ever called: each name that belongs to an array stands
for a record of what it would have been called with, and `_plain` makes arrays of these records afterwards. Any other
name is refused.
"""

from __future__ import annotations

import copyreg
import io
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np


def unpickle_arrays(path: Path) -> Any:
    """The object in a pickle file, of any protocol, also of Python 2 and of NumPy 1.

    Sparse matrices of SciPy come as dense arrays, arrays of chumpy as those of NumPy, tuples as lists.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file asks for anything else, or is no pickle.
    """
    data = path.read_bytes()
    copyreg.clear_extension_cache()  # names under a code that this process met before are looked at, too
    try:
        return _plain(_Recorder(_Lines(data), encoding="latin1").load())
    except Exception as error:  # a broken stream raises whatever it runs into
        if isinstance(error, _RefusedError):
            told = (
                f"asks for {error}; unpickling would run it. Convert a file that you trust where it was made."
            )
        else:
            told = f"is no whole pickle of arrays ({error!r:.200}). Export the body again."
        raise ValueError(f"read_body: {path} {told}") from error


class _RefusedError(Exception):
    """A name that does not belong to an array."""


class _Lines(io.BytesIO):
    """Lines that are whole: a name that ends with the file is none."""

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise EOFError("a line without its end")
        return line


class _Recorder(pickle._Unpickler):  # the one in Python: what it holds is never larger than the file says
    def find_class(self, module: str, name: str) -> type:
        known = _RECORDS.get((module.partition(".")[0], name))
        if known is None:
            raise _RefusedError(f"{module}.{name}")
        return known


class _Record:
    """What a pickle wants made: of these arguments, then brought into this state."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def made(self) -> Any:
        """The array or number that it stands for."""
        raise pickle.UnpicklingError(f"a {type(self).__name__.strip('_')} alone")


class _Array(_Record):
    """Made empty, then filled: (version, shape, dtype, whether columns come first, bytes or list)."""

    def made(self) -> Any:
        shape, dtype, by_columns, content = self.state[-4:]
        return _filled(content, dtype, shape, "F" if by_columns else "C")


class _Buffer(_Record):
    """Of (bytes, dtype, shape, order), and for the order K of the axes as they lie in memory."""

    def made(self) -> Any:
        content, dtype, shape, order, *axes = self.arguments
        if order != "K":
            return _filled(content, dtype, shape, order)
        array = _filled(content, dtype, shape, "C")
        return array if not axes or axes[0] is None else array.transpose(axes[0])


class _Scalar(_Record):
    """Of (dtype, bytes)."""

    def made(self) -> Any:
        dtype, content = self.arguments
        return _filled(content, dtype, (), "C")[()]


class _Dtype(_Record):
    """Of (code, ...), then in the state (version, order of bytes, ...)."""

    def made(self) -> np.dtype[Any]:
        code, order = str(self.arguments[0]), str(self.state[1]) if self.state else "="
        if not re.fullmatch(r"[biufSU]\d+|O8?", code) or order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"an array of {code[:20]!r}")
        return np.dtype(object) if code[0] == "O" else np.dtype(order + code)


class _Bytes(_Record):
    """Of (text, "latin1"): how bytes stand in old protocols, and of () where there are none."""

    def made(self) -> bytes:
        text, encoding = self.arguments or ("", "latin1")
        if encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"text in {encoding!r:.20}")
        return str(text).encode("latin1")


class _Object(_Record):
    """Of (class, its base, nothing): how objects stand in protocols 0 and 1."""

    def made(self) -> Any:
        kind = self.arguments[0]
        record = kind() if isinstance(kind, type) and issubclass(kind, _Record) else _Record()
        record.state = self.state
        return record.made()


class _Chumpy(_Record):
    def made(self) -> Any:
        return _plain(self.state["x"])


class _Sparse(_Record):
    """A sparse matrix of SciPy: the fields of its object."""

    def made(self) -> Any:
        state = self.state[0] if isinstance(self.state, tuple) else self.state  # the other are slots
        values = {name: _plain(state[name]) for name in state if name in _OF_SPARSE}
        if math.prod(values["_shape"]) > _MOST_ELEMENTS:
            raise pickle.UnpicklingError(f"a sparse matrix {values['_shape']}")
        dense = np.zeros(values["_shape"], dtype=values["data"].dtype)
        places = self.places(values)
        for place, size in zip(places, dense.shape, strict=True):
            if len(place) and not 0 <= place.min() <= place.max() < size:
                raise pickle.UnpicklingError(
                    f"a sparse matrix {list(dense.shape)} with an entry outside of it"
                )
        np.add.at(dense, places, values["data"])
        return dense

    def places(self, values: dict[str, Any]) -> tuple[Any, Any]:
        """Rows and columns of the entries."""
        raise NotImplementedError


class _Csr(_Sparse):
    def places(self, values: dict[str, Any]) -> tuple[Any, Any]:
        return np.repeat(np.arange(len(values["indptr"]) - 1), np.diff(values["indptr"])), values["indices"]


class _Csc(_Csr):
    def places(self, values: dict[str, Any]) -> tuple[Any, Any]:
        columns, rows = super().places(values)
        return rows, columns


class _Coo(_Sparse):
    def places(self, values: dict[str, Any]) -> tuple[Any, Any]:
        rows, columns = values["coords"] if "coords" in values else (values["row"], values["col"])
        return rows, columns


#: Fields of a sparse matrix; elements of the largest that is made dense.
_OF_SPARSE, _MOST_ELEMENTS = ("_shape", "data", "indices", "indptr", "coords", "row", "col"), 2**28

#: (package, name), as pickles of Python 2 and 3, NumPy 1 and 2, and every SciPy write them -> what it is recorded as.
_RECORDS: dict[tuple[str, str], type] = {
    ("numpy", "_reconstruct"): _Array,
    ("numpy", "_frombuffer"): _Buffer,
    ("numpy", "scalar"): _Scalar,
    ("numpy", "ndarray"): _Record,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Bytes,
    ("__builtin__", "bytes"): _Bytes,
    ("builtins", "bytes"): _Bytes,
    ("__builtin__", "object"): _Record,
    ("builtins", "object"): _Record,
    ("copy_reg", "_reconstructor"): _Object,
    ("copyreg", "_reconstructor"): _Object,
    ("__builtin__", "set"): _Record,
    ("builtins", "set"): _Record,
    ("collections", "OrderedDict"): dict,
    ("chumpy", "Ch"): _Chumpy,
    **{
        ("scipy", f"{form}_{kind}"): record
        for form, record in (("csr", _Csr), ("csc", _Csc), ("coo", _Coo))
        for kind in ("matrix", "array")
    },
}


def _plain(value: Any) -> Any:
    """The same with arrays in place of records."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, _Record):
        return value.made()
    if isinstance(value, str | bytes | bytearray | int | float | None):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__}")


def _filled(content: Any, dtype: Any, shape: Any, order: str) -> Any:
    """An array of its bytes; of objects, lists within lists."""
    content, dtype, shape = _plain(content), _plain(dtype), tuple(_plain(shape))
    if isinstance(content, list):
        array = np.empty(len(content), object)
        for place, item in enumerate(content):
            array[place] = item
        return array.reshape(shape, order="F" if order == "F" else "C").tolist()
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise pickle.UnpicklingError("objects in the bytes of an array")
    raw = content.encode("latin1") if isinstance(content, str) else content  # as Python 2 wrote bytes
    return np.frombuffer(raw, dtype=dtype).reshape(shape, order="F" if order == "F" else "C").copy()
