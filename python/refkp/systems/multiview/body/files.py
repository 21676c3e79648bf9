"""Body files: `.npz` in the fields of SMIL and SMAL models, read and written, and their pickles, read.

In an `.npz`, weights and regressor are dense (`weights`, `J_regressor`) or sparse: `weights_index` and `weights_value`
[N,k], and `J_regressor_joint`, `J_regressor_vertex`, `J_regressor_value`. Source: spec multiview e.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from refkp._checks import fail
from refkp._files import whole_file
from refkp.systems.multiview.body.model import Body
from refkp.systems.multiview.body.unpickling import unpickle_arrays

_REQUIRED = ("v_template", "f", "kintree_table")


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
    missing = [name for name in _REQUIRED if name not in values]
    if missing:
        fail(
            "read_body", str(path), f"with the fields {', '.join(_REQUIRED)}", f"none of {', '.join(missing)}"
        )
    try:
        return _body(values)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"read_body: {path}: {error}") from error


def write_body(path: Path | str, body: Body) -> None:
    """Write a body as .npz, weights and regressor sparse."""
    if Path(path).suffix.lower() != ".npz":
        fail("write_body", "path", "a .npz file", str(path))
    numpy = {name: _numpy(getattr(body, name)) for name in _OPTIONAL.values()}
    arrays = {
        "v_template": _numpy(body.vertices),
        "f": body.faces.numpy().astype(np.int32),
        "kintree_table": np.array([body.parents, range(body.num_joints)], dtype=np.int32),
        "J_names": np.array(body.joint_names),
        "J": _numpy(body.rest_joints),
        "shapedirs": _numpy(body.shapedirs),
        "trans_sign": np.array(body.trans_sign, dtype=np.float32),
        "static_joint_locs": np.array(body.regressor is None),
        **_sparse_weights(body.weights.numpy()),
        **{name: numpy[own] for name, own in _OPTIONAL.items() if numpy[own] is not None},
    }
    if body.regressor is not None:
        joint, vertex = np.nonzero(body.regressor.numpy())
        value = body.regressor.numpy()[joint, vertex]
        arrays |= {"J_regressor_joint": joint, "J_regressor_vertex": vertex, "J_regressor_value": value}
    with whole_file(path) as unfinished:
        np.savez_compressed(unfinished, **arrays)  # type: ignore[arg-type]


#: Field of a file -> of a body, where both may lack it.
_OPTIONAL = {
    "posedirs": "posedirs",
    "scaledirs": "scaledirs",
    "transdirs": "transdirs",
    "joint_limits": "limits",
    "shape_mean_betas": "shape_mean",
    "shape_cov": "shape_cov",
}


def _npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except FileNotFoundError:
        raise
    except (ValueError, OSError, EOFError, KeyError, BadZipFile) as error:
        raise ValueError(f"read_body: {path} is no .npz of arrays: {error}") from error


def _body(values: Mapping[str, Any]) -> Body:
    vertices = _float(values["v_template"])
    parents = np.array(values["kintree_table"]).astype(np.int64)[0]
    parents[0] = -1  # some files write the largest unsigned number
    joints, count = len(parents), len(vertices)
    static = bool(np.array(values.get("static_joint_locs", False)).item())
    regressor = None if static else _regressor(values, joints, count)
    rest = _float(values["J"]) if regressor is None else regressor @ vertices
    shapedirs = _float(values["shapedirs"]) if _there(values, "shapedirs") else torch.zeros(count, 3, 0)
    optional = {own: _float(values[name]) for name, own in _OPTIONAL.items() if _there(values, name)}
    sign = tuple(float(value) for value in np.array(values.get("trans_sign", (1.0, -1.0, 1.0))))
    return Body(
        vertices=vertices,
        faces=torch.from_numpy(np.array(values["f"]).astype(np.int64)),
        weights=_weights(values, count, joints),
        parents=tuple(parents.tolist()),
        joint_names=_names(values, joints),
        rest_joints=rest,
        regressor=regressor,
        shapedirs=shapedirs,
        trans_sign=sign,  # type: ignore[arg-type]
        **optional,
    )


def _there(values: Mapping[str, Any], name: str) -> bool:
    """Whether an optional field holds anything: files write empty lists and arrays."""
    return name in values and values[name] is not None and np.size(values[name]) > 0


def _float(value: Any) -> Tensor:
    return torch.from_numpy(np.array(value, dtype=np.float32))


def _numpy(value: Tensor | None) -> np.ndarray | None:
    return None if value is None else value.numpy()


def _names(values: Mapping[str, Any], joints: int) -> tuple[str, ...]:
    if not _there(values, "J_names"):
        return tuple(f"joint_{number}" for number in range(joints))
    names = np.array(values["J_names"]).tolist()
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def _weights(values: Mapping[str, Any], count: int, joints: int) -> Tensor:
    if "weights" in values:
        return _float(values["weights"])
    index, value = np.array(values["weights_index"]).astype(np.int64), np.array(values["weights_value"])
    dense = np.zeros((count, joints), dtype=np.float32)
    np.add.at(dense, (np.arange(count)[:, None], index), value)
    return torch.from_numpy(dense)


def _sparse_weights(dense: np.ndarray) -> dict[str, np.ndarray]:
    most = max(1, int((dense != 0).sum(1).max(initial=0)))
    index = np.argsort(dense == 0, axis=1, kind="stable")[:, :most]
    return {"weights_index": index.astype(np.int32), "weights_value": np.take_along_axis(dense, index, 1)}


def _regressor(values: Mapping[str, Any], joints: int, count: int) -> Tensor:
    if "J_regressor" in values:
        return _float(values["J_regressor"])
    if "J_regressor_value" not in values:
        remedy = "Without one, set `static_joint_locs`: joints then stay where `J` has them."
        fail("Body", "J_regressor", "there, as the joints are not static", "none", remedy)
    dense = np.zeros((joints, count), dtype=np.float32)
    place = tuple(np.array(values[f"J_regressor_{name}"]).astype(np.int64) for name in ("joint", "vertex"))
    np.add.at(dense, place, values["J_regressor_value"])
    return torch.from_numpy(dense)


def body_fields(body: Body) -> dict[str, Any]:
    """The body as plain values and tensors, for a checkpoint."""
    return {each.name: getattr(body, each.name) for each in fields(Body)}


def body_from_fields(values: Mapping[str, Any]) -> Body:
    """The body of `body_fields`."""
    return Body(**values)
