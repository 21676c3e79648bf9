"""Body files: `.npz` in the fields of SMIL and SMAL models, read and written, and their pickles, read.

In an `.npz`, weights and regressor are dense (`weights`, `J_regressor`) or sparse: `weights_index` and `weights_value`
[N,k], and `J_regressor_joint`, `J_regressor_vertex`, `J_regressor_value`. Source: spec multiview e.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail
from refkp._files import whole_file
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.unpickling import unpickle_arrays

_REQUIRED = ("v_template", "f", "kintree_table")

#: Field of a file -> of a body, where both may lack it.
_OPTIONAL = {
    "posedirs": "posedirs",
    "scaledirs": "scaledirs",
    "transdirs": "transdirs",
    "joint_limits": "limits",
    "shape_mean_betas": "shape_mean",
    "shape_cov": "shape_cov",
}

#: The parent of the root, in files that have no negative numbers.
_NO_PARENT = 2**32 - 1


def read_body(path: Path | str) -> Body:
    """A body of a file, in float32.

    Args:
        path: .npz, or the pickle (.pkl, .pickle) of a SMIL or SMAL model, of which arrays alone are read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, fields that are missing or do not fit, a pickle with anything but arrays.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        values: Any = _npz(path)
    elif path.suffix.lower() in (".pkl", ".pickle"):
        values = unpickle_arrays(path)
    else:
        remedy = "`refkp multiview make-body` makes one of a rigged glTF file or a table of bones."
        fail("read_body", "path", "a body file, .npz, .pkl or .pickle", str(path), remedy)
    if not isinstance(values, Mapping):
        fail("read_body", str(path), "a table of arrays", type(values).__name__)
    missing = [name for name in _REQUIRED if values.get(name) is None]
    if missing:
        rule = f"with the fields {', '.join(_REQUIRED)}"
        fail("read_body", str(path), rule, f"none of {', '.join(missing)}", "Give the file of a body.")
    try:
        return _body(values)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RuntimeError) as error:
        raise ValueError(f"read_body: {path}: {error} Export the body again.") from error


def write_body(path: Path | str, body: Body) -> None:
    """Write a body as .npz in float32, weights and regressor sparse; `read_body` gives the same body back."""
    if Path(path).suffix.lower() != ".npz":
        fail("write_body", "path", "a .npz file", str(path))
    given = {name: getattr(body, own) for name, own in _OPTIONAL.items()}
    arrays: dict[str, Any] = {
        "v_template": _numpy(body.vertices),
        "f": body.faces.cpu().numpy().astype(np.int32),
        "kintree_table": np.array([body.parents, range(body.num_joints)], dtype=np.int32),
        "J_names": np.array(body.joint_names),
        "J": _numpy(body.rest_joints),
        "shapedirs": _numpy(body.shapedirs),
        "trans_sign": np.array(body.trans_sign, dtype=np.float32),
        "static_joint_locs": np.array(body.regressor is None),
        **_sparse_weights(_numpy(body.weights)),
        **{name: _numpy(value) for name, value in given.items() if value is not None},
    }
    if body.regressor is not None:
        dense = _numpy(body.regressor)
        joint, vertex = np.nonzero(dense)
        arrays |= {
            "J_regressor_joint": joint.astype(np.int32),
            "J_regressor_vertex": vertex.astype(np.int32),
            "J_regressor_value": dense[joint, vertex],
        }
    with whole_file(path) as unfinished:
        np.savez_compressed(unfinished, **arrays)


def body_fields(body: Body) -> dict[str, Any]:
    """The body as plain values and tensors, for a checkpoint."""
    return {each.name: getattr(body, each.name) for each in fields(Body)}


def body_from_fields(values: Mapping[str, Any]) -> Body:
    """The body of `body_fields`."""
    return Body(**values)


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        raise
    except Exception as error:  # of zip, zlib, or of the arrays within, which a broken file may lead to
        told = f"is no whole .npz of arrays ({error!r:.200}). Write the body again."
        raise ValueError(f"read_body: {path} {told}") from error


def _body(values: Mapping[str, Any]) -> Body:
    vertices, parents = _float(values, "v_template", 2), _parents(values)
    count, joints = len(vertices), len(parents)
    static = bool(np.array(values.get("static_joint_locs", False)).item())
    regressor = None if static else _regressor(values, joints, count)
    optional = {own: _float(values, name) for name, own in _OPTIONAL.items() if _there(values, name)}
    sign = np.array(values.get("trans_sign", (1.0, -1.0, 1.0)), dtype=np.float32)
    return Body(
        vertices=vertices,
        faces=torch.from_numpy(_whole(values, "f", 2)),
        weights=_weights(values, joints, count),
        parents=parents,
        joint_names=_names(values, joints),
        rest_joints=_float(values, "J", 2) if regressor is None else regressor @ vertices,
        regressor=regressor,
        shapedirs=_float(values, "shapedirs", 3) if _there(values, "shapedirs") else torch.zeros(count, 3, 0),
        trans_sign=tuple(sign.tolist()),
        **optional,
    )


def _parents(values: Mapping[str, Any]) -> tuple[int, ...]:
    table = _whole(values, "kintree_table", 2)
    if len(table) != 2 or (table[1] != np.arange(table.shape[1])).any():
        fail("Body", "kintree_table", "the parents above the numbers 0 to J-1 of the joints", table.tolist())
    return tuple(np.where(table[0] == _NO_PARENT, -1, table[0]).tolist())


def _names(values: Mapping[str, Any], joints: int) -> tuple[str, ...]:
    if not _there(values, "J_names"):
        return tuple(f"joint_{number}" for number in range(joints))
    names = np.array(values["J_names"]).ravel().tolist()
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def _weights(values: Mapping[str, Any], joints: int, count: int) -> Tensor:
    if "weights" in values:
        return _float(values, "weights", 2)
    joint = _whole(values, "weights_index", 2)
    vertex = np.broadcast_to(np.arange(len(joint))[:, None], joint.shape)
    return _dense((vertex, joint), _float(values, "weights_value", 2), (count, joints), "weights_index")


def _regressor(values: Mapping[str, Any], joints: int, count: int) -> Tensor:
    remedy = "Joints that do not follow the shape have `static_joint_locs`: they stay where `J` has them."
    if "J_regressor" in values:
        dense = _float(values, "J_regressor", 2)
    elif "J_regressor_value" in values:
        place = (_whole(values, "J_regressor_joint", 1), _whole(values, "J_regressor_vertex", 1))
        dense = _dense(place, _float(values, "J_regressor_value", 1), (joints, count), "J_regressor_joint")
    else:
        fail("Body", "J_regressor", "there, for the joints are not static", "none", remedy)
    if not dense.any():
        fail("Body", "J_regressor", "of rows that sum to 1, for the joints are not static", "zeros", remedy)
    return dense


def _sparse_weights(dense: np.ndarray) -> dict[str, np.ndarray]:
    most = max(1, int((dense != 0).sum(1).max(initial=0)))
    index = np.argsort(dense == 0, axis=1, kind="stable")[:, :most]
    return {"weights_index": index.astype(np.int32), "weights_value": np.take_along_axis(dense, index, 1)}


def _dense(place: tuple[np.ndarray, np.ndarray], values: Tensor, shape: tuple[int, int], name: str) -> Tensor:
    """A matrix of its entries, those of one place summed."""
    for index, size in zip(place, shape, strict=True):
        if index.shape != values.shape or (index.size and not 0 <= index.min() <= index.max() < size):
            got = f"{list(index.shape)} of {index.min(initial=0)} to {index.max(initial=0)}"
            fail("Body", name, f"{list(values.shape)} as its values, of 0 to {size - 1}", got)
    dense = np.zeros(shape, dtype=np.float32)
    np.add.at(dense, place, values.numpy())
    return torch.from_numpy(dense)


def _there(values: Mapping[str, Any], name: str) -> bool:
    """Whether a field holds anything: files write empty lists and arrays where there is nothing."""
    return values.get(name) is not None and np.size(values[name]) > 0


def _float(values: Mapping[str, Any], name: str, axes: int | None = None) -> Tensor:
    return torch.from_numpy(_array(values, name, axes).astype(np.float32))


def _whole(values: Mapping[str, Any], name: str, axes: int) -> np.ndarray:
    given = _array(values, name, axes)
    whole = given.astype(np.int64)
    if (whole != given).any():
        fail("Body", name, "whole numbers", f"{given[whole != given].flat[0]}")
    return whole


def _array(values: Mapping[str, Any], name: str, axes: int | None) -> np.ndarray:
    """A field of numbers, of as many axes as it must have."""
    if name not in values:
        fail("Body", name, "there", "no such field")
    array = np.array(values[name])
    if array.dtype.kind not in "biuf" or (axes is not None and array.ndim != axes):
        rule = "numbers" if axes is None else f"numbers along {axes} axes"
        fail("Body", name, rule, f"{list(array.shape)} of {array.dtype}")
    return array


def _numpy(values: Tensor) -> np.ndarray:
    return values.cpu().numpy().astype(np.float32)
