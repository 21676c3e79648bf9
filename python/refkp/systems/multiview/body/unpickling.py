"""Pickled model files without running what is in them: arrays, sparse matrices, and plain containers alone."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from refkp._checks import fail

#: What pickled arrays of every numpy are made by, under the names of its modules of today and before 2.0.
_NUMPY = {
    "_reconstruct": np.ndarray((0,)).__reduce__()[0],  # type: ignore[index]
    "scalar": np.float64(0).__reduce__()[0],  # type: ignore[index]
}
_MATRICES = {"csc_matrix", "csr_matrix", "coo_matrix", "csc_array", "csr_array", "coo_array"}


def unpickle_arrays(path: Path) -> Any:
    """The object in a pickle file that is made of arrays, numbers, text, lists, tuples and dicts alone.

    Sparse matrices of SciPy come as dense arrays, arrays of chumpy as those of NumPy.

    Raises:
        ValueError: the file holds anything else, or is no pickle.
    """
    try:
        value = _ArraysOnly(io.BytesIO(path.read_bytes()), path).load()
    except ValueError:
        raise
    except Exception as error:  # a broken stream raises whatever it runs into
        raise ValueError(
            f"read_body: {path} is no pickle of arrays: {error!r:.200}. Export the body again."
        ) from error
    return _plain(value)


class _Holder:
    """The state of an object of a class that is not built."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Chumpy(_Holder):
    pass


class _Csc(_Holder):
    """Columns, or for `_Csr` rows, one after the other."""


class _Csr(_Csc):
    pass


class _Coo(_Holder):
    pass


class _ArraysOnly(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, path: Path) -> None:
        super().__init__(stream, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        root = module.partition(".")[0]
        if root == "numpy" and name in _NUMPY and module.endswith("multiarray"):
            return _NUMPY[name]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if root == "numpy" and name == "_frombuffer" and module.endswith("numeric"):
            return _from_buffer
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if root == "scipy" and name in _MATRICES:
            return {"csc": _Csc, "csr": _Csr, "coo": _Coo}[name[:3]]
        if root == "chumpy" and name == "Ch":
            return _Chumpy
        rule = "a pickle of arrays, numbers, text, lists, tuples and dicts alone"
        remedy = "Unpickling would run it. Convert a file you trust where it was made."
        fail("read_body", str(self._path), rule, f"one that asks for {module}.{name}", remedy)


def _from_buffer(buffer: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order == "F" else "C").copy()


def _latin1(text: str, encoding: str) -> bytes:
    """How the bytes of an array stand in old pickles."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text in {encoding}")
    return text.encode("latin1")


def _plain(value: Any) -> Any:
    """The same with dense arrays in place of holders."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, _Chumpy):
        state = value.state
        return _plain(state["x"] if isinstance(state, dict) and "x" in state else None)
    return _dense(value) if isinstance(value, _Csc | _Coo) else value


def _dense(matrix: _Csc | _Coo) -> np.ndarray:
    state = matrix.state[0] if isinstance(matrix.state, tuple) else matrix.state
    dense = np.zeros(state["_shape"], dtype=state["data"].dtype)
    if isinstance(matrix, _Coo):
        rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
    else:
        inner, outer = (
            state["indices"],
            np.repeat(np.arange(len(state["indptr"]) - 1), np.diff(state["indptr"])),
        )
        rows, columns = (outer, inner) if isinstance(matrix, _Csr) else (inner, outer)
    np.add.at(dense, (rows, columns), state["data"])
    return dense
